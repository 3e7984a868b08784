// Mixed derivatives of tuples by the 2n+1 rule; the contract is xai_fast/kernels/tuple_sum/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct TupleSumArguments {
  void* out;                // (B, T)
  const void* derivatives;  // (B, K, U), K > order
  const void* rows;         // (B, R, U)
  const void* adjoints;     // (B, Q, U)
  const int32_t* members;   // (T, subsets of 1 to n directions)
  int64_t items, tuples, units, derivative_count, row_count, adjoint_count;
  int order;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, tuple_sum, TupleSumArguments)

}  // namespace xai_fast

// Extensions of sets by one feature, and the best of them; the contract is xai_fast/kernels/tuple_join/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct TupleJoin {
  int32_t* out;            // (N, order + 1)
  int64_t* count;          // (1,)
  const int32_t* parents;  // (parent_count, order)
  int64_t parent_count;
  int order;
  int64_t features, begin, end, min_support;
  int threads;
};

struct TupleTopK {
  void* best_values;      // (k,)
  int32_t* best_tuples;   // (k, order)
  int64_t* best_count;    // (1,)
  const void* values;     // (candidates,)
  const int32_t* tuples;  // (candidates, order)
  int64_t k, candidates;
  int order;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, tuple_join, TupleJoin)
XAI_FAST_DECLARE(void, tuple_top_k, TupleTopK)

}  // namespace xai_fast

// Inner products of pairs of rows; the contract is xai_fast/kernels/pair_reduce/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct PairReduce {
  void* sums;          // (B, nA, nC)
  const void* left;    // (nA, B, U)
  const void* right;   // (nC, B, U)
  const void* weight;  // (B, U) or null
  int64_t items, rows, columns, units;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, pair_reduce, PairReduce)

}  // namespace xai_fast

// Saliency of pairs; the contract is xai_fast/kernels/pair_saliency/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct PairSaliency {
  void* out;         // (B, n, n), or for the largest (B, k)
  int64_t* pairs;    // (B, k, 2)
  const void* sums;  // (B, n, n)
  const bool* mask;  // (n, n), (B, n, n) or null
  bool mask_of_each_item, symmetric;
  int64_t items, positions, k;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, pair_saliency, PairSaliency)
XAI_FAST_DECLARE(void, pair_top_k, PairSaliency)

}  // namespace xai_fast

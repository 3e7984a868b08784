// Mixed derivatives of the units of a feed-forward network; the contract is
// xai_fast/kernels/feed_forward_rows/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct FeedForwardRows {
  void* rows;               // (B, D + P + T, U)
  void* adjoints;           // (B, Q, U)
  const void* derivatives;  // (B, K, U)
  const void* first;        // (1 or B, D, U_0)
  const void* last;         // (1 or B, U_last)
  const void* weights;      // the layers behind the first, (U_l, U_(l-1)) each
  const void* transposed;
  const int64_t* widths;  // (layers,)
  const int32_t* pairs;   // (P, 2)
  const int32_t* triples;
  const int32_t* triple_pairs;
  int64_t layers, items, singles, pair_count, triple_count, adjoint_count, derivative_count;
  bool first_by_item, last_by_item;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, feed_forward_rows, FeedForwardRows)

}  // namespace xai_fast

// The running mean and deviation of the flux; the contract is xai_fast/kernels/flux_accumulate/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct FluxAccumulate {
  void* mean;             // (B, N)
  void* m2;               // (B, N) or null
  const int64_t* count;   // (B,), before this call
  const void* centers;    // (B, N) or null
  const void* points;     // (R, N) or null, like centers
  const void* gradients;  // (R, N)
  // The negative rows by item: those of the k-th item that has any, items_with[k], are rows[starts[k]..starts[k +
  // 1]-1], in their order.
  const int64_t* rows;
  const int64_t* items_with;  // (item_count,)
  const int64_t* starts;      // (item_count + 1,)
  int64_t item_count, entries;
  bool magnitude;
  Dtype dtype, gradient_dtype;
  int threads;
};

XAI_FAST_DECLARE(void, flux_accumulate, FluxAccumulate)

}  // namespace xai_fast

// Activations and their derivatives in a feed-forward network; the contract is
// xai_fast/kernels/feed_forward_values/__init__.py.
#pragma once

#include <cstdint>

#include "activations.h"
#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct FeedForwardValues {
  void* derivatives;       // (B, orders + 1, U)
  const void* x;           // (B, N)
  const void* transposed;  // (N, U_0), (U_0, U_1), ...
  const void* biases;      // (U,)
  const int64_t* widths;   // (layers,)
  const Activation* activations;
  const double* parameters;  // three a layer
  int64_t layers, items, inputs;
  int orders;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, feed_forward_values, FeedForwardValues)

}  // namespace xai_fast

// Relevance in proportion to contributions, and its sums; the contract is xai_fast/kernels/relevance_ratio/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

struct RelevanceRatio {
  void* out;              // (T, B, M)
  double* sums;           // (T, B, 4) or null
  const void* c;          // (T, B, M)
  const void* numerator;  // (B, M)
  const void* divisor;    // (B, M)
  const void* bias;       // (2, C) or null
  int64_t inner;
  double eps;
  int64_t rows, items, units, channels;  // T, B, M, C
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, relevance_ratio, RelevanceRatio)

}  // namespace xai_fast

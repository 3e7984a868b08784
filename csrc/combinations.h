// Binomial coefficients, of which the combinatorial number of a set, the sum of C(i_j, j), is made; see
// xai_fast/kernels/combinations.py. For g++ and nvcc.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

// C(n, k) for 0 <= k <= 32, where it and what is on the way fit 64 bits; 0 where n < k.
XAI_FAST_HD int64_t binomial(int64_t n, int k) {
  if (n < k) return 0;
  int64_t result = 1;
  for (int t = 1; t <= k; ++t) {
    // result * factor / t, which is an integer, without the product that may not fit
    const int64_t factor = n - t + 1, rest = result % t;
    result = result / t * factor + rest * factor / t;
  }
  return result;
}

}  // namespace xai_fast

// The combinatorial number of a set, i_1 < ... < i_k: the sum of C(i_j, j), colexicographic; see
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

// The number of the set of `order` features; row is rising.
template <class Index>
XAI_FAST_HD int64_t rank_of(const Index* row, int order) {
  int64_t rank = 0;
  for (int j = 0; j < order; ++j) rank += binomial(row[j], j + 1);
  return rank;
}

// The largest n < features with C(n, k) <= rank; `features` such that rank < C(features, k).
XAI_FAST_HD int64_t largest_of(int64_t rank, int k, int64_t features) {
  if (k == 1) return rank;
  int64_t low = k - 1, high = features;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (binomial(middle, k) <= rank) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// The set of `order` of the first `features` that has this number, rising.
template <class Index>
XAI_FAST_HD void unrank(int64_t rank, int order, int64_t features, Index* row) {
  for (int j = order; j >= 1; --j) {
    const int64_t i = largest_of(rank, j, features);
    row[j - 1] = static_cast<Index>(i);
    rank -= binomial(i, j);
    features = i;
  }
}

// Makes of the set its successor in the order of the numbers. One past the last of D features has D as its largest.
template <class Index>
XAI_FAST_HD void next_set(int order, Index* row) {
  int j = 0;
  while (j + 1 < order && row[j] + 1 == row[j + 1]) {
    row[j] = static_cast<Index>(j);
    ++j;
  }
  ++row[j];
}

}  // namespace xai_fast

// The matrices are small and read once: what counts is that they are not written again for the largest pairs.
#include "kernels/pair_saliency/pair_saliency.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

// One item's matrix.
template <class Scalar>
struct Pairs {
  const Scalar* sums;
  const bool* mask;
  int64_t positions;
  bool symmetric;

  Pairs(const PairSaliency& arguments, int64_t item)
      : sums(static_cast<const Scalar*>(arguments.sums) + item * arguments.positions * arguments.positions),
        mask(arguments.mask
                 ? arguments.mask + (arguments.mask_of_each_item ? item : 0) * arguments.positions * arguments.positions
                 : nullptr),
        positions(arguments.positions),
        symmetric(arguments.symmetric) {}

  int64_t first_column(int64_t i) const { return symmetric ? i + 1 : 0; }
  bool counts(int64_t i, int64_t j) const { return i != j && (!mask || mask[i * positions + j]); }
  Scalar saliency(int64_t i, int64_t j) const {
    const Scalar here = sums[i * positions + j], there = symmetric ? sums[j * positions + i] : Scalar(0);
    return here * here + there * there;
  }
};

template <class Scalar>
void write_saliency(const PairSaliency& arguments) {
  const int64_t positions = arguments.positions;
  const int threads = useful_threads(arguments.threads, arguments.items * positions * positions);
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
  for (int64_t item = 0; item < arguments.items; ++item) {
    for (int64_t i = 0; i < positions; ++i) {
      const Pairs<Scalar> pairs(arguments, item);
      Scalar* out = static_cast<Scalar*>(arguments.out) + (item * positions + i) * positions;
      std::fill(out, out + pairs.first_column(i), Scalar(0));
      for (int64_t j = pairs.first_column(i); j < positions; ++j) {
        out[j] = pairs.counts(i, j) ? pairs.saliency(i, j) : Scalar(0);
      }
    }
  }
}

template <class Scalar>
struct Candidate {
  Scalar strength;                                // NaN counts as infinite
  int64_t index;                                  // i * positions + j
  bool operator<(const Candidate& other) const {  // stands before
    return strength > other.strength || (strength == other.strength && index < other.index);
  }
};

// The k first in order of all pairs of an item, kept in a heap whose top is the last of them.
template <class Scalar>
std::vector<Candidate<Scalar>> largest(const Pairs<Scalar>& pairs, size_t k) {
  std::vector<Candidate<Scalar>> heap;
  heap.reserve(k + 1);
  for (int64_t i = 0; i < pairs.positions; ++i) {
    for (int64_t j = pairs.first_column(i); j < pairs.positions; ++j) {
      if (!pairs.counts(i, j)) continue;
      const Scalar saliency = pairs.saliency(i, j);
      const Scalar strength = std::isnan(saliency) ? std::numeric_limits<Scalar>::infinity() : saliency;
      const Candidate<Scalar> candidate{strength, i * pairs.positions + j};
      if (heap.size() == k && !(candidate < heap.front())) continue;
      heap.push_back(candidate);
      std::push_heap(heap.begin(), heap.end());
      if (heap.size() > k) {
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
      }
    }
  }
  std::sort_heap(heap.begin(), heap.end());
  return heap;
}

template <class Scalar>
void write_largest(const PairSaliency& arguments) {
  const int64_t positions = arguments.positions, k = arguments.k;
  const int threads = useful_threads(arguments.threads, arguments.items * positions * positions);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t item = 0; item < arguments.items; ++item) {
    const Pairs<Scalar> pairs(arguments, item);
    const auto found = largest(pairs, static_cast<size_t>(k));
    for (int64_t rank = 0; rank < k; ++rank) {
      const bool there = rank < static_cast<int64_t>(found.size());
      const int64_t i = there ? found[rank].index / positions : -1, j = there ? found[rank].index % positions : -1;
      static_cast<Scalar*>(arguments.out)[item * k + rank] = there ? pairs.saliency(i, j) : Scalar(0);
      arguments.pairs[2 * (item * k + rank)] = i;
      arguments.pairs[2 * (item * k + rank) + 1] = j;
    }
  }
}

}  // namespace

void pair_saliency(const PairSaliency& arguments) {
  arguments.dtype == Dtype::float64 ? write_saliency<double>(arguments) : write_saliency<float>(arguments);
}

void pair_top_k(const PairSaliency& arguments) {
  arguments.dtype == Dtype::float64 ? write_largest<double>(arguments) : write_largest<float>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

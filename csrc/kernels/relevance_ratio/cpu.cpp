// A task is a part of an item's units. Block by block of units what does not depend on the row is computed once, into
// the first-level cache; then the rows go by, each multiplied by it. Sums of blocks are added up in double, those of
// parts in order, whichever tasks and threads they come from.
#include "kernels/relevance_ratio/relevance_ratio.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t block_units = 1024, part_units = 1 << 13;
constexpr int sums_of_row = 4;

// What all rows of an item share in a block of units. Behind the last unit are zeros, up to a whole vector.
template <class Scalar>
struct Block {
  Scalar numerator[block_units];
  Scalar ratio[block_units];   // numerator / stabilised divisor
  Scalar bias[block_units];    // of the unit's channel and sign
  Scalar beyond[block_units];  // the stabiliser, where the divisor is beyond it
  Scalar within[block_units];  // the stabiliser, where it is not
};

// Where the channel is constant (`step` 0) or the units are the channels (1).
template <int step, class Scalar>
void select_bias(const Scalar* __restrict__ numerator, const Scalar* above, const Scalar* below, int64_t units,
                 Scalar* __restrict__ to) {
#pragma omp simd
  for (int64_t u = 0; u < units; ++u) {
    const Scalar if_above = above[step * u], if_below = below[step * u];  // without a branch
    to[u] = numerator[u] > 0 ? if_above : if_below;
  }
}

template <bool with_sums, class Scalar>
void prepare(const RelevanceRatio& arguments, int64_t item, int64_t begin, int64_t units, Block<Scalar>& block) {
  const Scalar* __restrict__ numerator =
      static_cast<const Scalar*>(arguments.numerator) + item * arguments.units + begin;
  const Scalar* __restrict__ divisor = static_cast<const Scalar*>(arguments.divisor) + item * arguments.units + begin;
  const Scalar eps = static_cast<Scalar>(arguments.eps);
#pragma omp simd
  for (int64_t u = 0; u < units; ++u) {
    const Scalar stabiliser = divisor[u] < 0 ? -eps : eps;
    block.ratio[u] = numerator[u] / (divisor[u] + stabiliser);
    if (with_sums) {
      const Scalar size = std::abs(divisor[u]);
      block.numerator[u] = numerator[u];
      block.beyond[u] = size > eps ? stabiliser : Scalar(0);
      block.within[u] = size <= eps ? stabiliser : Scalar(0);
    }
  }
  if (!with_sums || !arguments.bias) return;
  const Scalar* above = static_cast<const Scalar*>(arguments.bias);
  const Scalar* below = above + arguments.channels;
  const int64_t inner = arguments.inner;
  for (int64_t u = 0; u < units;) {
    const int64_t channel = (begin + u) / inner % arguments.channels;
    const int64_t run = std::min(units - u, inner == 1 ? arguments.channels - channel : inner - (begin + u) % inner);
    (inner == 1 ? select_bias<1, Scalar> : select_bias<0, Scalar>)(numerator + u, above + channel, below + channel, run,
                                                                   block.bias + u);
    u += run;
  }
}

// A vector of units of one row: out = c * ratio, and what they add to its sums.
template <bool with_sums, class Vector, class Scalar>
Vector step(Vector c, const Block<Scalar>& block, int64_t unit, Vector (&total)[sums_of_row]) {
  const Vector out = c * load<Vector>(block.ratio + unit);
  if (with_sums) {
    total[0] += c * load<Vector>(block.numerator + unit);
    total[1] += out * load<Vector>(block.bias + unit);
    total[2] += out * load<Vector>(block.beyond + unit);
    total[3] += out * load<Vector>(block.within + unit);
  }
  return out;
}

template <bool with_sums, class Vector, class Scalar>
void add_row(const Scalar* c, const Block<Scalar>& block, int64_t units, Scalar* out, double* sums) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  Vector total[sums_of_row] = {};
  int64_t unit = 0;
  for (; unit + lanes <= units; unit += lanes) {
    store(out + unit, step<with_sums>(load<Vector>(c + unit), block, unit, total));
  }
  if (unit < units) {
    Scalar rest[lanes] = {};
    std::copy(c + unit, c + units, rest);
    store(rest, step<with_sums>(load<Vector>(rest), block, unit, total));
    std::copy(rest, rest + (units - unit), out + unit);
  }
  for (int i = 0; with_sums && i < sums_of_row; ++i) sums[i] += lane_sum(Scalar(), &total[i]);
}

template <bool with_sums, class Vector, class Scalar>
void ratios(const RelevanceRatio& arguments) {
  const int64_t units = arguments.units, items = arguments.items, rows = arguments.rows;
  const int64_t parts = (units + part_units - 1) / part_units, tasks = items * parts;
  const int threads = useful_threads(arguments.threads, rows * items * units);
  // (T, B, parts, 4)
  const std::unique_ptr<double[]> partial(with_sums ? new double[rows * tasks * sums_of_row]() : nullptr);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t item = task / parts, start = task % parts * part_units, end = std::min(units, start + part_units);
    Block<Scalar> block{};
    for (int64_t begin = start; begin < end; begin += block_units) {
      const int64_t count = std::min(block_units, end - begin);
      if (count < block_units) block = {};
      prepare<with_sums>(arguments, item, begin, count, block);
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = (row * items + item) * units + begin;
        add_row<with_sums, Vector>(static_cast<const Scalar*>(arguments.c) + at, block, count,
                                   static_cast<Scalar*>(arguments.out) + at,
                                   partial.get() + (row * tasks + task) * sums_of_row);
      }
    }
  }
  for (int64_t place = 0; with_sums && place < rows * items; ++place) {
    double sum[sums_of_row] = {};
    for (int64_t part = 0; part < parts; ++part) {
      for (int i = 0; i < sums_of_row; ++i) sum[i] += partial[(place * parts + part) * sums_of_row + i];
    }
    if (!arguments.bias) sum[1] = 0;
    std::copy(sum, sum + sums_of_row, arguments.sums + place * sums_of_row);
  }
}

template <class Vector, class Scalar>
void relevance_ratio_of(const RelevanceRatio& arguments) {
  arguments.sums ? ratios<true, Vector, Scalar>(arguments) : ratios<false, Vector, Scalar>(arguments);
}

}  // namespace

void relevance_ratio(const RelevanceRatio& arguments) {
  arguments.dtype == Dtype::float64 ? relevance_ratio_of<Double, double>(arguments)
                                    : relevance_ratio_of<Float, float>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

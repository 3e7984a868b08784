// A task is a stretch of units that is worked on in chunks: the derivatives of a chunk are computed once, into scratch;
// then each target's terms are summed for a few vectors of units in registers. Rows of a chunk stay in the cache while
// all targets go by, so that memory sees each of them once.
#include "kernels/partition_sum/partition_sum.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "derivative_rows.h"
#include "lanes.h"
#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t most_units = 512;       // in a chunk
constexpr int64_t part_units = 1 << 14;   // in a task of the reduced form
constexpr int64_t near_cache = 32 << 10;  // bytes, of rows and derivatives of a chunk
constexpr int64_t far_cache = 512 << 10;  // where `near_cache` would make chunks too short to be read in a stream
constexpr int tile_vectors = 4;

// How many units to work on at a time: depends on the program only.
template <class Scalar>
int64_t chunk_units(const PartitionSum& arguments) {
  const int64_t bytes_a_unit = (arguments.row_count + arguments.last_order + 1) * sizeof(Scalar);
  int64_t units = most_units;
  while (units > 256 && units * bytes_a_unit > near_cache) units /= 2;
  while (units > 64 && units * bytes_a_unit > far_cache) units /= 2;
  return units;
}

// The arrays at one chunk of units.
template <class Scalar>
struct Chunk {
  Rows<Scalar> s, rows, adjoints;
  Chunk from(int64_t unit) const {
    return {{s.first + unit, s.stride}, {rows.first + unit, rows.stride}, {adjoints.first + unit, adjoints.stride}};
  }
};

template <class Scalar>
Chunk<Scalar> chunk_at(const PartitionSum& arguments, int64_t entry, const Scalar* scratch) {
  const int64_t stride = arguments.items * arguments.units;
  // Without adjoints there is an address that nobody reads.
  const void* adjoints = arguments.adjoints ? arguments.adjoints : arguments.values;
  return {{scratch, most_units},
          {static_cast<const Scalar*>(arguments.rows) + entry, stride},
          {static_cast<const Scalar*>(adjoints) + entry, stride}};
}

// take(unit, total[vectors]) for the vectors of a chunk, from `unit` on as many as there are; returns where they end.
template <class Lane, int vectors, class Scalar, class Take>
XAI_FAST_HD int64_t tiles(const PartitionProgram& program, int64_t target, const Chunk<Scalar>& chunk, int64_t unit,
                          int64_t units, Take take) {
  constexpr int64_t width = vectors * sizeof(typename Lane::Real) / sizeof(Scalar);
  for (; unit + width <= units; unit += width) {
    const Chunk<Scalar> here = chunk.from(unit);
    typename Lane::Real total[vectors];
    sum_over_terms<Lane, vectors>(program, target, here.s, here.rows, here.adjoints, total);
    take(unit, total);
  }
  return unit;
}

template <class Lane>
void write_chunk(const PartitionSum& arguments, int64_t entry, int64_t units, const typename Lane::Scalar* scratch) {
  using Scalar = typename Lane::Scalar;
  const Chunk<Scalar> chunk = chunk_at(arguments, entry, scratch);
  const int64_t stride = arguments.items * arguments.units;
  for (int64_t target = 0; target < arguments.targets; ++target) {
    Scalar* out = static_cast<Scalar*>(arguments.out) + target * stride + entry;
    int64_t unit = tiles<Lane, tile_vectors>(arguments.program, target, chunk, 0, units,
                                             [=](int64_t at, const typename Lane::Real* total) {
                                               std::memcpy(out + at, total, tile_vectors * sizeof *total);
                                             });
    unit = tiles<Lane, 1>(arguments.program, target, chunk, unit, units,
                          [=](int64_t at, const typename Lane::Real* total) { store(out + at, *total); });
    tiles<OneLane<Scalar>, 1>(arguments.program, target, chunk, unit, units,
                              [=](int64_t at, const Scalar* total) { out[at] = *total; });
  }
}

template <class Lane>
void add_chunk(const PartitionSum& arguments, int64_t entry, int64_t units, const typename Lane::Scalar* scratch,
               Double* sums) {
  using Scalar = typename Lane::Scalar;
  const Chunk<Scalar> chunk = chunk_at(arguments, entry, scratch);
  for (int64_t target = 0; target < arguments.targets; ++target) {
    Double sum = sums[target];
    int64_t unit = tiles<Lane, tile_vectors>(arguments.program, target, chunk, 0, units,
                                             [&](int64_t, const typename Lane::Real* total) {
                                               for (int i = 0; i < tile_vectors; ++i) sum += in_double(total[i]);
                                             });
    unit = tiles<Lane, 1>(arguments.program, target, chunk, unit, units,
                          [&](int64_t, const typename Lane::Real* total) { sum += in_double(*total); });
    tiles<OneLane<Scalar>, 1>(arguments.program, target, chunk, unit, units,
                              [&](int64_t, const Scalar* total) { sum[0] += *total; });
    sums[target] = sum;
  }
}

template <class Lane>
void write_all(const PartitionSum& arguments) {
  using Scalar = typename Lane::Scalar;
  const int64_t entries = arguments.items * arguments.units, step = chunk_units<Scalar>(arguments);
  const int64_t chunks = (entries + step - 1) / step;
  const int threads = useful_threads(arguments.threads, arguments.targets * entries);
  const DerivativesOf wanted{arguments.activation, arguments.parameters, arguments.first_order, arguments.last_order};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    alignas(64) Scalar scratch[(max_order + 1) * most_units];
    const int64_t entry = chunk * step, units = std::min(step, entries - entry);
    write_derivatives<Lane>(wanted, static_cast<const Scalar*>(arguments.values) + entry, units, scratch, most_units);
    write_chunk<Lane>(arguments, entry, units, scratch);
  }
}

template <class Lane>
void add_sums(const PartitionSum& arguments) {
  using Scalar = typename Lane::Scalar;
  const int64_t units = arguments.units, targets = arguments.targets, step = chunk_units<Scalar>(arguments);
  const int64_t parts = (units + part_units - 1) / part_units, tasks = arguments.items * parts;
  const int threads = useful_threads(arguments.threads, targets * arguments.items * units);
  const DerivativesOf wanted{arguments.activation, arguments.parameters, arguments.first_order, arguments.last_order};
  const std::unique_ptr<Double[]> sums(new Double[tasks * targets]());
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t task = 0; task < tasks; ++task) {
    alignas(64) Scalar scratch[(max_order + 1) * most_units];
    const int64_t item = task / parts, begin = task % parts * part_units, end = std::min(units, begin + part_units);
    for (int64_t unit = begin; unit < end; unit += step) {
      const int64_t entry = item * units + unit, count = std::min(step, end - unit);
      write_derivatives<Lane>(wanted, static_cast<const Scalar*>(arguments.values) + entry, count, scratch, most_units);
      add_chunk<Lane>(arguments, entry, count, scratch, sums.get() + task * targets);
    }
  }
  for (int64_t item = 0; item < arguments.items; ++item) {
    for (int64_t target = 0; target < targets; ++target) {
      Double total{};
      for (int64_t part = 0; part < parts; ++part) total += sums[(item * parts + part) * targets + target];
      double sum = 0;
      for (int lane = 0; lane < lanes_64; ++lane) sum += total[lane];
      static_cast<Scalar*>(arguments.out)[item * targets + target] += static_cast<Scalar>(sum);
    }
  }
}

template <class Lane>
void of_dtype(const PartitionSum& arguments) {
  arguments.reduced ? add_sums<Lane>(arguments) : write_all<Lane>(arguments);
}

}  // namespace

void partition_sum(const PartitionSum& arguments) {
  arguments.dtype == Dtype::float64 ? of_dtype<Lanes<DoubleLanes>>(arguments) : of_dtype<Lanes<FloatLanes>>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

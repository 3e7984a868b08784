// A task is stripes of rows of the left side, and a part of an item's units. Block by block of units a stripe is
// multiplied by the weights into scratch; then tiles of 4 x 4 pairs are summed in registers, a vector of units at a
// time. Sums of blocks are added up in double, those of parts in order, whichever tasks and threads they come from.
#include "kernels/pair_reduce/pair_reduce.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t tile = 4, stripe_rows = 24, block_units = 1024, part_units = 1 << 13;

// Rows of one block of units: whole vectors from memory, and what is left of the block copied and filled with zeros.
template <class Vector, class Scalar>
struct Side {
  const Scalar* whole;
  int64_t stride;
  const Scalar* rest;  // a vector for each row
  Vector at(int64_t row, int64_t unit) const { return load<Vector>(whole + row * stride + unit); }
  Vector rest_of(int64_t row) const {
    return load<Vector>(rest + row * static_cast<int64_t>(sizeof(Vector) / sizeof(Scalar)));
  }
};

// sums[i * columns + j] += the inner products of `height` rows with `width` rows.
template <int height, int width, class Vector, class Scalar>
void add_tile(const Side<Vector, Scalar>& left, const Side<Vector, Scalar>& right, int64_t row, int64_t column,
              int64_t units, double* sums, int64_t columns) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  Vector total[height][width] = {};
  int64_t unit = 0;
  for (; unit + lanes <= units; unit += lanes) {
    Vector b[width];
    for (int j = 0; j < width; ++j) b[j] = right.at(column + j, unit);
    for (int i = 0; i < height; ++i) {
      const Vector a = left.at(row + i, unit);
      for (int j = 0; j < width; ++j) total[i][j] += a * b[j];
    }
  }
  if (unit < units) {
    for (int i = 0; i < height; ++i) {
      for (int j = 0; j < width; ++j) total[i][j] += left.rest_of(row + i) * right.rest_of(column + j);
    }
  }
  for (int i = 0; i < height; ++i) {
    for (int j = 0; j < width; ++j) sums[(row + i) * columns + column + j] += lane_sum(Scalar(), &total[i][j]);
  }
}

template <int width, class Vector, class Scalar>
void add_column_of_tiles(const Side<Vector, Scalar>& left, const Side<Vector, Scalar>& right, int64_t rows,
                         int64_t column, int64_t units, double* sums, int64_t columns) {
  int64_t row = 0;
  for (; row + tile <= rows; row += tile) add_tile<tile, width>(left, right, row, column, units, sums, columns);
  for (; row < rows; ++row) add_tile<1, width>(left, right, row, column, units, sums, columns);
}

// A stripe of rows of one item, and where its sums go.
template <class Vector, class Scalar>
struct Stripe {
  static constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  const PairReduce& arguments;
  int64_t item, first_row, rows;
  double* sums;  // (rows, columns)

  static int64_t scratch_entries(int64_t columns) {
    return stripe_rows * block_units + (stripe_rows + columns) * lanes;
  }

  const Scalar* row_of(const void* side, int64_t row, int64_t unit) const {
    return static_cast<const Scalar*>(side) + (row * arguments.items + item) * arguments.units + unit;
  }

  static void copy_rest(const Scalar* from, int64_t count, Scalar* to) {
    std::fill(to, to + lanes, Scalar(0));
    std::copy(from, from + count, to);
  }

  void weigh(int64_t row, int64_t unit, int64_t units, Scalar* to) const {
    const Scalar* from = row_of(arguments.left, first_row + row, unit);
    if (!arguments.weight) {
      std::copy(from, from + units, to);
      return;
    }
    const Scalar* weight = static_cast<const Scalar*>(arguments.weight) + item * arguments.units + unit;
#pragma omp simd
    for (int64_t u = 0; u < units; ++u) to[u] = from[u] * weight[u];
  }

  // A block of units; scratch holds the weighted rows, and the rests of both sides.
  void add_block(int64_t unit, int64_t units, Scalar* scratch) const {
    const int64_t whole = units / lanes * lanes, columns = arguments.columns;
    Scalar* weighted = scratch;
    Scalar* left_rest = weighted + stripe_rows * block_units;
    Scalar* right_rest = left_rest + stripe_rows * lanes;
    for (int64_t i = 0; i < rows; ++i) {
      weigh(i, unit, units, weighted + i * block_units);
      copy_rest(weighted + i * block_units + whole, units - whole, left_rest + i * lanes);
    }
    for (int64_t j = 0; whole < units && j < columns; ++j) {
      copy_rest(row_of(arguments.right, j, unit) + whole, units - whole, right_rest + j * lanes);
    }
    const Side<Vector, Scalar> left{weighted, block_units, left_rest};
    const Side<Vector, Scalar> right{row_of(arguments.right, 0, unit), arguments.items * arguments.units, right_rest};
    int64_t column = 0;
    for (; column + tile <= columns; column += tile) {
      add_column_of_tiles<tile>(left, right, rows, column, units, sums, columns);
    }
    for (; column < columns; ++column) add_column_of_tiles<1>(left, right, rows, column, units, sums, columns);
  }
};

// sums: (items, parts, rows, columns), added up over the parts in order.
template <class Scalar>
void add_parts(const PairReduce& arguments, int64_t parts, const double* sums) {
  const int64_t pairs = arguments.rows * arguments.columns;
  for (int64_t item = 0; item < arguments.items; ++item) {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      double sum = 0;
      for (int64_t part = 0; part < parts; ++part) sum += sums[(item * parts + part) * pairs + pair];
      static_cast<Scalar*>(arguments.sums)[item * pairs + pair] += static_cast<Scalar>(sum);
    }
  }
}

template <class Vector, class Scalar>
void add_pairs(const PairReduce& arguments) {
  const int64_t units = arguments.units, columns = arguments.columns, rows = arguments.rows;
  const int64_t parts = (units + part_units - 1) / part_units, stripes = (rows + stripe_rows - 1) / stripe_rows;
  const int threads = useful_threads(arguments.threads, arguments.items * rows * units);
  // All stripes are one task, which finds a block of the right side in its cache, unless threads would be idle.
  const int64_t groups = arguments.items * parts >= threads ? 1 : std::min<int64_t>(stripes, threads);
  const int64_t tasks = arguments.items * parts * groups,
                scratch_entries = Stripe<Vector, Scalar>::scratch_entries(columns);
  const std::unique_ptr<double[]> sums(new double[arguments.items * parts * rows * columns]());
  const std::unique_ptr<Scalar[]> scratch(new Scalar[threads * scratch_entries]);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int thread = 0; thread < threads; ++thread) {
    for (int64_t task = thread; task < tasks; task += threads) {
      const int64_t group = task % groups, part = task / groups % parts, item = task / groups / parts;
      const int64_t end = std::min(units, (part + 1) * part_units);
      for (int64_t unit = part * part_units; unit < end; unit += block_units) {
        for (int64_t stripe = group; stripe < stripes; stripe += groups) {
          const int64_t row = stripe * stripe_rows;
          const Stripe<Vector, Scalar> here{arguments, item, row, std::min(stripe_rows, rows - row),
                                            sums.get() + ((item * parts + part) * rows + row) * columns};
          here.add_block(unit, std::min(block_units, end - unit), scratch.get() + thread * scratch_entries);
        }
      }
    }
  }
  add_parts<Scalar>(arguments, parts, sums.get());
}

}  // namespace

void pair_reduce(const PairReduce& arguments) {
  arguments.dtype == Dtype::float64 ? add_pairs<Double, double>(arguments) : add_pairs<Float, float>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

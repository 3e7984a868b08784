// A task is a stretch of tuples of one item. It goes through the units in blocks, so that the rows which its tuples
// share stay in the cache; a tuple's sum over a block is taken in vectors, and added up over the blocks in double.
#include "kernels/tuple_sum/tuple_sum.h"

#include <algorithm>
#include <memory>

#include "lanes.h"
#include "simd.h"
#include "sweeps.h"
#include "tuples.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t tuples_in_task = 2048;
constexpr int64_t rows_in_cache = 512 << 10;  // bytes of a block's rows, adjoints and derivatives
constexpr int64_t fewest_units = 64;          // in a block: shorter ones spend their time on the sums of lanes

// How many units to work on at a time: depends on how many rows there are, never on the tuples or the items.
template <class Scalar>
int64_t block_units(const TupleSumArguments& arguments) {
  const int64_t bytes_a_unit =
      (arguments.row_count + arguments.adjoint_count + arguments.derivative_count) * sizeof(Scalar);
  int64_t units = 512;
  while (units > fewest_units && units * bytes_a_unit > rows_in_cache) units /= 2;
  return units;
}

template <class Scalar>
struct Arrays {
  Rows<Scalar> s, rows, adjoints;
  Arrays from(int64_t unit) const {
    return {{s.first + unit, s.stride}, {rows.first + unit, rows.stride}, {adjoints.first + unit, adjoints.stride}};
  }
};

template <class Scalar>
Arrays<Scalar> arrays_of(const TupleSumArguments& arguments, int64_t item) {
  const int64_t units = arguments.units;
  return {{static_cast<const Scalar*>(arguments.derivatives) + item * arguments.derivative_count * units, units},
          {static_cast<const Scalar*>(arguments.rows) + item * arguments.row_count * units, units},
          {static_cast<const Scalar*>(arguments.adjoints) + item * arguments.adjoint_count * units, units}};
}

template <class Lane>
double lane_sum(typename Lane::Real value) {
  const Double lanes = in_double(value);
  double sum = 0;
  for (int lane = 0; lane < lanes_64; ++lane) sum += lanes[lane];
  return sum;
}

// sums[t] += the sum over `units` units, from those on that the arrays start with.
template <class Lane, int order>
void add_block(const Arrays<typename Lane::Scalar>& arrays, const int32_t* members, int64_t tuples, int64_t units,
               double* sums) {
  using Scalar = typename Lane::Scalar;
  using Real = typename Lane::Real;
  constexpr int64_t width = sizeof(Real) / sizeof(Scalar);
  constexpr int columns = TupleShape<order>::members;
  const int64_t whole = units / width * width;
  for (int64_t t = 0; t < tuples; ++t) {
    int32_t of_tuple[columns];
    std::copy_n(members + t * columns, columns, of_tuple);
    Real total{};
    for (int64_t unit = 0; unit < whole; unit += width) {
      const Arrays<Scalar> here = arrays.from(unit);
      total += TupleSum<Lane, order>().of(of_tuple, here.s, here.rows, here.adjoints);
    }
    double sum = lane_sum<Lane>(total);
    for (int64_t unit = whole; unit < units; ++unit) {
      const Arrays<Scalar> here = arrays.from(unit);
      sum += TupleSum<OneLane<Scalar>, order>().of(of_tuple, here.s, here.rows, here.adjoints);
    }
    sums[t] += sum;
  }
}

template <class Lane, int order>
void sum_all(const TupleSumArguments& arguments) {
  using Scalar = typename Lane::Scalar;
  constexpr int columns = TupleShape<order>::members;
  const int64_t parts = (arguments.tuples + tuples_in_task - 1) / tuples_in_task, tasks = arguments.items * parts;
  const int64_t step = block_units<Scalar>(arguments);
  const int threads = useful_threads(arguments.threads, arguments.items * arguments.tuples * arguments.units);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t task = 0; task < tasks; ++task) {
    const int64_t item = task / parts, begin = task % parts * tuples_in_task;
    const int64_t tuples = std::min(tuples_in_task, arguments.tuples - begin);
    const Arrays<Scalar> arrays = arrays_of<Scalar>(arguments, item);
    double sums[tuples_in_task] = {};
    for (int64_t unit = 0; unit < arguments.units; unit += step) {
      add_block<Lane, order>(arrays.from(unit), arguments.members + begin * columns, tuples,
                             std::min(step, arguments.units - unit), sums);
    }
    Scalar* out = static_cast<Scalar*>(arguments.out) + item * arguments.tuples + begin;
    for (int64_t t = 0; t < tuples; ++t) out[t] = static_cast<Scalar>(sums[t]);
  }
}

template <class Lane>
void of_order(const TupleSumArguments& arguments) {
  static constexpr void (*table[])(const TupleSumArguments&) = {sum_all<Lane, 2>, sum_all<Lane, 3>, sum_all<Lane, 4>,
                                                                sum_all<Lane, 5>, sum_all<Lane, 6>};
  table[arguments.order - 2](arguments);
}

}  // namespace

void tuple_sum(const TupleSumArguments& arguments) {
  arguments.dtype == Dtype::float64 ? of_order<Lanes<DoubleLanes>>(arguments) : of_order<Lanes<FloatLanes>>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

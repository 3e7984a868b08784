// A task is a stretch of tuples of one item. It goes through the units in blocks, so that the rows which its tuples
// share stay in the cache; a tuple's sum over a block is taken in vectors, and added up over the blocks in double. What
// is left behind the last whole vector is one more block, in a copy that is filled up with zeros.
#include "kernels/tuple_sum/tuple_sum.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lanes.h"
#include "simd.h"
#include "sweeps.h"
#include "tuples.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t tuples_in_task = 2048;
constexpr int64_t rows_worth_copying = 4 * tuples_in_task;  // for a task; of more the tuples do not read most
constexpr int64_t rows_in_cache = 512 << 10;                // bytes of a block's rows, adjoints and derivatives
constexpr int64_t fewest_units = 64;  // in a block: shorter ones spend their time on the sums of lanes

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

// Rows of the last units of an item, fewer than a vector of them, filled up with zeros. Zeros add nothing: every term
// of a sum has a row.
template <class Lane>
class LastVector {
  using Scalar = typename Lane::Scalar;

 public:
  LastVector(int64_t units, int64_t derivatives, int64_t rows, int64_t adjoints)
      : units(units), entries((derivatives + rows + adjoints) * Lane::count) {
    arrays.s = {entries.data(), Lane::count};
    arrays.rows = {arrays.s[derivatives], Lane::count};
    arrays.adjoints = {arrays.rows[rows], Lane::count};
  }
  LastVector(const LastVector&) = delete;

  // Of those of an array from its first on, `count`.
  void copy(Rows<Scalar> from, int64_t count, Rows<Scalar> to) {
    for (int64_t row = 0; row < count; ++row) copy_row(from[row], to[row]);
  }
  void copy_row(const Scalar* from, const Scalar* to) {
    std::copy_n(from, units, entries.data() + (to - entries.data()));
  }

  Arrays<Scalar> arrays;

 private:
  const int64_t units;
  std::vector<Scalar> entries;
};

template <class Real>
double lane_sum(Real value) {
  double lanes[lanes_64];
  store(lanes, in_double(value));
  for (int half = lanes_64 / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// sums[t] += the sum over `units` units, whole vectors of them, for some triples (i, j, k) with the same j and k: what
// they share is multiplied once. The order of the additions does not depend on how many triples there are.
template <class Lane, int count>
void add_group(const Arrays<typename Lane::Scalar>& arrays, const int32_t* members, int64_t units, double* sums) {
  using Scalar = typename Lane::Scalar;
  using Real = typename Lane::Real;
  const int64_t stride = arrays.rows.stride, j = members[1] * stride, k = members[2] * stride;
  int64_t of[count];
  Real totals[count][2];
  for (int t = 0; t < count; ++t) {
    of[t] = members[3 * t] * stride;
    totals[t][0] = totals[t][1] = Real{};
  }
  const Scalar *z = arrays.rows.first, *none = arrays.adjoints.first, *mu = arrays.adjoints[1];
  const Scalar *s2 = arrays.s[2], *s3 = arrays.s[3];
  for (int64_t unit = 0; unit < units; unit += Lane::count) {
    const Real zj = in_register(Lane::load(z + j + unit)), zk = in_register(Lane::load(z + k + unit));
    const Real second = in_register(Lane::load(s2 + unit)), of_i = second * zj * zk;
    const Real of_none = Lane::load(s3 + unit) * Lane::load(none + unit) * zj * zk;
    const Real of_j = second * Lane::load(mu + j + unit) * zk, of_k = second * Lane::load(mu + k + unit) * zj;
    for (int t = 0; t < count; ++t) {
      const Real zi = in_register(Lane::load(z + of[t] + unit));
      totals[t][0] += zi * of_none;
      totals[t][1] += zi * of_j;
      totals[t][0] += zi * of_k;
      totals[t][1] += Lane::load(mu + of[t] + unit) * of_i;
    }
  }
  for (int t = 0; t < count; ++t) sums[t] += lane_sum(totals[t][0] + totals[t][1]);
}

template <class Lane>
void add_triples(const Arrays<typename Lane::Scalar>& arrays, const int32_t* members, int64_t tuples, int64_t units,
                 double* sums) {
  constexpr int64_t most = 4;
  for (int64_t t = 0, end; t < tuples; t = end) {
    const int32_t* first = members + 3 * t;
    end = t + 1;
    while (end < tuples && end - t < most && first[3 * (end - t) + 1] == first[1] &&
           first[3 * (end - t) + 2] == first[2])
      ++end;
    switch (end - t) {
      case 1:
        add_group<Lane, 1>(arrays, first, units, sums + t);
        break;
      case 2:
        add_group<Lane, 2>(arrays, first, units, sums + t);
        break;
      case 3:
        add_group<Lane, 3>(arrays, first, units, sums + t);
        break;
      default:
        add_group<Lane, 4>(arrays, first, units, sums + t);
    }
  }
}

// sums[t] += the sum over `units` units, whole vectors of them.
template <class Lane, int order>
void add_block(const Arrays<typename Lane::Scalar>& arrays, const int32_t* members, int64_t tuples, int64_t units,
               double* sums) {
  if constexpr (order == 3) {
    add_triples<Lane>(arrays, members, tuples, units, sums);
  } else {
    constexpr int columns = TupleShape<order>::members;
    for (int64_t t = 0; t < tuples; ++t) {
      int32_t of_tuple[columns];
      std::copy_n(members + t * columns, columns, of_tuple);
      typename Lane::Real total{};
      for (int64_t unit = 0; unit < units; unit += Lane::count) {
        const Arrays<typename Lane::Scalar> here = arrays.from(unit);
        total += TupleSum<Lane, order>().of(of_tuple, here.s, here.rows, here.adjoints);
      }
      sums[t] += lane_sum(total);
    }
  }
}

// sums[t] += the sum over the last `units` units, fewer than a vector, at which the arrays start. All rows are copied
// for all tuples, or those of a tuple for each.
template <class Lane, int order>
void add_last(const TupleSumArguments& a, const Arrays<typename Lane::Scalar>& arrays, const int32_t* members,
              int64_t tuples, int64_t units, double* sums) {
  using Shape = TupleShape<order>;
  constexpr int columns = Shape::members, with_adjoint = Shape::subsets(Shape::backward);
  const bool all = a.row_count <= rows_worth_copying;
  LastVector<Lane> last(units, order + 1, all ? a.row_count : columns, all ? a.adjoint_count : with_adjoint + 1);
  last.copy(arrays.s, order + 1, last.arrays.s);
  last.copy(arrays.rows, all ? a.row_count : 0, last.arrays.rows);
  last.copy(arrays.adjoints, all ? a.adjoint_count : 1, last.arrays.adjoints);
  int32_t own[columns];
  std::iota(own, own + columns, 0);
  const int64_t step = all ? tuples : 1;
  for (int64_t t = 0; t < tuples; t += step) {
    const int32_t* of_tuple = members + t * columns;
    for (int c = 0; !all && c < columns; ++c) {
      last.copy_row(arrays.rows[of_tuple[c]], last.arrays.rows[c]);
      if (c < with_adjoint) last.copy_row(arrays.adjoints[of_tuple[c] + 1], last.arrays.adjoints[c + 1]);
    }
    add_block<Lane, order>(last.arrays, all ? of_tuple : own, step, Lane::count, sums + t);
  }
}

template <class Lane, int order>
class Sums {
  using Scalar = typename Lane::Scalar;

 public:
  explicit Sums(const TupleSumArguments& arguments)
      : a(arguments), parts((a.tuples + tuples_in_task - 1) / tuples_in_task), block(block_units<Scalar>(arguments)) {}

  void run_all() const {
    const int threads = useful_threads(a.threads, a.items * a.tuples * a.units);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t task = 0; task < a.items * parts; ++task) do_task(task);
  }

 private:
  const TupleSumArguments& a;
  const int64_t parts, block;

  void do_task(int64_t task) const {
    const int64_t item = task / parts, begin = task % parts * tuples_in_task;
    const int64_t tuples = std::min(tuples_in_task, a.tuples - begin);
    const Arrays<Scalar> arrays = arrays_of<Scalar>(a, item);
    double sums[tuples_in_task];
    std::fill_n(sums, tuples, 0.0);
    const int32_t* members = a.members + begin * TupleShape<order>::members;
    for (int64_t unit = 0; unit < a.units; unit += block) {
      const int64_t units = std::min(block, a.units - unit), whole = units / Lane::count * Lane::count;
      if (whole > 0) add_block<Lane, order>(arrays.from(unit), members, tuples, whole, sums);
      if (whole < units) add_last<Lane, order>(a, arrays.from(unit + whole), members, tuples, units - whole, sums);
    }
    Scalar* out = static_cast<Scalar*>(a.out) + item * a.tuples + begin;
    for (int64_t t = 0; t < tuples; ++t) out[t] = static_cast<Scalar>(sums[t]);
  }
};

template <class Lane>
void sums_of_order(const TupleSumArguments& arguments) {
  switch (arguments.order) {
    case 2:
      return Sums<Lane, 2>(arguments).run_all();
    case 3:
      return Sums<Lane, 3>(arguments).run_all();
    case 4:
      return Sums<Lane, 4>(arguments).run_all();
    case 5:
      return Sums<Lane, 5>(arguments).run_all();
    default:
      return Sums<Lane, 6>(arguments).run_all();
  }
}

}  // namespace

void tuple_sum(const TupleSumArguments& arguments) {
  arguments.dtype == Dtype::float64 ? sums_of_order<Lanes<DoubleLanes>>(arguments)
                                    : sums_of_order<Lanes<FloatLanes>>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

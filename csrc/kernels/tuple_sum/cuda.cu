// tuple_sum on a GPU: a warp takes one tuple of one item, its lanes take the units in turn, and their sums are added by
// shuffles. The order of the additions depends on the units alone.
#include "kernels/tuple_sum/tuple_sum_cuda.h"

#include <cmath>

#include "kernels/tuple_sum/by_parts.h"
#include "launch.h"
#include "tuples.h"

namespace xai_fast {
namespace {

template <class Number>
struct Lane {
  using Scalar = Number;
  using Real = Number;
  static XAI_FAST_HD Real load(const Scalar* from) { return *from; }
};

template <class Scalar>
struct Sums {
  Scalar* out;
  const Scalar *derivatives, *rows, *adjoints;
  const int32_t* members;
  int64_t items, tuples, units, derivative_count, row_count, adjoint_count;
};

// Whether all rows and adjoints that a tuple names are there.
template <int order, class Scalar>
__device__ bool all_there(const Sums<Scalar>& sums, const int32_t* members) {
  using Shape = TupleShape<order>;
  bool there = true;
  for (int column = 0; column < Shape::members; ++column) {
    const int64_t end = column < Shape::subsets(Shape::backward) && sums.adjoint_count - 1 < sums.row_count
                            ? sums.adjoint_count - 1
                            : sums.row_count;
    there = there && members[column] >= 0 && members[column] < end;
  }
  return there;
}

// A tuple and the arrays of its item, for one lane of the warp that takes it.
template <class Scalar>
struct Task {
  const int32_t* members;
  const Scalar *s, *z, *mu;
  int32_t units, lane;  // no units where there is nothing to do
};

// Where all that the subsets of a tuple share fits the registers of a thread.
template <class Scalar, int order>
__device__ Scalar sum_at_once(const Sums<Scalar>& sums, const Task<Scalar>& task) {
  Scalar total = 0;
  for (int64_t unit = task.lane; unit < task.units; unit += warp_threads) {
    total += TupleSum<Lane<Scalar>, order>().of(task.members, {task.s + unit, sums.units}, {task.z + unit, sums.units},
                                                {task.mu + unit, sums.units});
  }
  return total;
}

// The terms of one set S, of `order - size` directions; row_of is by the masks in T - S.
template <class Scalar, int order, int size>
__device__ Scalar sum_of_part(const Task<Scalar>& task, const int32_t* row_of, int32_t adjoint) {
  Scalar total = 0;
  XAI_FAST_NO_UNROLL
  for (int32_t unit = task.lane; unit < task.units; unit += warp_threads) {
    TupleSumByParts<Lane<Scalar>, order> part{row_of, task.s + unit, task.z + unit, task.units, {}};
    total += task.mu[int64_t{adjoint} * task.units + unit] * part.template of<size>();
  }
  return total;
}

// Where it does not: one set S after the other. Unrolled loops would have several in hand.
template <class Scalar, int order>
__device__ Scalar sum_by_parts(const Task<Scalar>& task, bool there) {
  using Shape = TupleShape<order>;
  static_assert(Shape::backward == 2, "for five or six directions");
  XAI_FAST_SHARED int32_t tables[2][block_warps][Shape::full + 1];
  int32_t* of_tuple = tables[0][threadIdx.x / warp_threads];  // rows by the mask in T
  int32_t* of_rest = tables[1][threadIdx.x / warp_threads];   // and in T - S
  const int lane = threadIdx.x % warp_threads;
  for (int mask = lane; mask <= Shape::full; mask += warp_threads) {
    const int size = __popc(mask);
    of_tuple[mask] = there && size >= 1 && size <= Shape::forward ? task.members[column_of<order>(mask)] : -1;
  }
  __syncwarp();
  Scalar total = 0;
  XAI_FAST_NO_UNROLL
  for (int part = 0; part < Shape::full; ++part) {
    const int size = __popc(part);
    if (size > Shape::backward) continue;
    for (int mask = lane; mask < 1 << (order - size); mask += warp_threads) {
      of_rest[mask] = of_tuple[mask_within(Shape::full ^ part, mask)];
    }
    __syncwarp();
    const int32_t adjoint = of_tuple[part] + 1;
    if (size == 0) total += sum_of_part<Scalar, order, order>(task, of_rest, adjoint);
    if (size == 1) total += sum_of_part<Scalar, order, order - 1>(task, of_rest, adjoint);
    if (size == 2) total += sum_of_part<Scalar, order, order - 2>(task, of_rest, adjoint);
    __syncwarp();  // before the table is written for the next part
  }
  return total;
}

template <class Scalar, int order>
XAI_FAST_GLOBAL void sum_tuples(const Sums<Scalar> sums) {
  const int lane = threadIdx.x % warp_threads;
  const int64_t number = int64_t{blockIdx.x} * block_warps + threadIdx.x / warp_threads;
  const bool is_tuple = number < sums.items * sums.tuples;
  const int64_t item = is_tuple ? number / sums.tuples : 0, tuple = is_tuple ? number % sums.tuples : 0;
  const int32_t* members = sums.members + tuple * TupleShape<order>::members;
  const bool there = is_tuple && all_there<order>(sums, members);
  const Task<Scalar> task{members,
                          sums.derivatives + item * sums.derivative_count * sums.units,
                          sums.rows + item * sums.row_count * sums.units,
                          sums.adjoints + item * sums.adjoint_count * sums.units,
                          there ? static_cast<int32_t>(sums.units) : 0,
                          lane};
  Scalar total;
  if constexpr (order <= 4) {
    total = sum_at_once<Scalar, order>(sums, task);
  } else {
    total = sum_by_parts<Scalar, order>(task, there);
  }
  for (int distance = warp_threads / 2; distance > 0; distance /= 2) {
    total += __shfl_xor_sync(all_lanes, total, distance);
  }
  if (is_tuple && lane == 0) sums.out[number] = there ? total : static_cast<Scalar>(NAN);
}

template <class Scalar>
const char* run(const Sums<Scalar>& sums, int64_t order, uintptr_t stream) {
  Stream on(stream);
  const int64_t blocks = (sums.items * sums.tuples + block_warps - 1) / block_warps;
  switch (order) {
    case 2:
      launch<sum_tuples<Scalar, 2>>(on, blocks, sums);
      break;
    case 3:
      launch<sum_tuples<Scalar, 3>>(on, blocks, sums);
      break;
    case 4:
      launch<sum_tuples<Scalar, 4>>(on, blocks, sums);
      break;
    case 5:
      launch<sum_tuples<Scalar, 5>>(on, blocks, sums);
      break;
    default:
      launch<sum_tuples<Scalar, 6>>(on, blocks, sums);
  }
  return on.error();
}

}  // namespace
}  // namespace xai_fast

using namespace xai_fast;

const char* xai_fast_tuple_sum_cuda(int64_t out, int64_t derivatives, int64_t rows, int64_t adjoints, int64_t members,
                                    int64_t items, int64_t tuples, int64_t units, int64_t derivative_count,
                                    int64_t row_count, int64_t adjoint_count, int64_t order, int64_t element_size,
                                    int64_t stream) {
  const auto arguments_of = [&](auto scalar) {
    using Scalar = decltype(scalar);
    return Sums<Scalar>{reinterpret_cast<Scalar*>(out),
                        reinterpret_cast<const Scalar*>(derivatives),
                        reinterpret_cast<const Scalar*>(rows),
                        reinterpret_cast<const Scalar*>(adjoints),
                        reinterpret_cast<const int32_t*>(members),
                        items,
                        tuples,
                        units,
                        derivative_count,
                        row_count,
                        adjoint_count};
  };
  const auto on = static_cast<uintptr_t>(stream);
  return element_size == 8 ? run(arguments_of(double{}), order, on) : run(arguments_of(float{}), order, on);
}

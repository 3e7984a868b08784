// tuple_top_k on a GPU: each warp sorts 32 candidates by shuffles, each block merges its warps in shared memory, then
// pairs of runs are merged until one is left, of which never more than k are kept; last it is merged with the best so
// far. In a merge each entry finds its own place: its number in its run, and how many of the other run stand before it.
#include <algorithm>
#include <cmath>

#include "kernels/tuple_join/parents.h"
#include "kernels/tuple_join/tuple_join_cuda.h"
#include "launch.h"

namespace xai_fast {
namespace {

template <class Scalar>
struct Entry {
  Scalar strength;
  int32_t index;  // of the candidate; from `candidates` on it is none
};

// Sorted runs of up to `length` entries, run after run.
template <class Scalar>
struct Runs {
  Scalar* strength;
  int32_t *index, *count;
  int64_t length, runs;
};

template <class Scalar>
struct TopK {
  Scalar* best_values;
  int32_t* best_tuples;
  int64_t* best_count;
  const Scalar* values;
  const int32_t* tuples;
  int64_t k, candidates;
  int order;
  Runs<Scalar> from, to;
  Scalar* merged_values;
  int32_t* merged_tuples;
  int64_t* merged_count;

  __device__ int64_t so_far() const {
    const int64_t count = *best_count;
    return count < 0 ? 0 : count > k ? k : count;
  }
  __device__ int compare(const int32_t* rows, int64_t row, int32_t candidate) const {
    return compare_rows(rows + row * order, tuples + int64_t{candidate} * order, order);
  }
  // In the order of the result, but for rows. What is not a candidate stands behind all that are.
  __device__ bool precedes_by_number(Entry<Scalar> one, Entry<Scalar> other) const {
    const bool is_one = one.index < candidates, is_other = other.index < candidates;
    if (is_one != is_other) return is_one;
    return one.strength != other.strength ? one.strength > other.strength : one.index < other.index;
  }
  __device__ bool precedes(Entry<Scalar> one, Entry<Scalar> other) const {
    const bool tie = one.strength == other.strength && one.index < candidates && other.index < candidates;
    const int rows = tie ? compare(tuples, one.index, other.index) : 0;
    return rows != 0 ? rows < 0 : precedes_by_number(one, other);
  }
  // A candidate that equals one of the best stands behind it.
  __device__ bool precedes_best(Entry<Scalar> one, int64_t best) const {
    const Scalar other = strength_of(best_values[best]);
    return one.strength != other ? one.strength > other : compare(best_tuples, best, one.index) > 0;
  }
};

// How many of the first `count` hold, if those that hold come first.
template <class Holds>
__device__ int64_t count_first(int64_t count, Holds holds) {
  int64_t low = 0;
  while (low < count) {
    const int64_t middle = low + (count - low) / 2;
    if (holds(middle)) {
      low = middle + 1;
    } else {
      count = middle;
    }
  }
  return low;
}

// Lane l ends with the l-th of the warp (Batcher's bitonic sort).
template <class Scalar>
__device__ Entry<Scalar> sorted_in_warp(const TopK<Scalar>& top, Entry<Scalar> mine, int lane) {
  for (int size = 2; size <= warp_threads; size *= 2) {
    for (int distance = size / 2; distance > 0; distance /= 2) {
      const Entry<Scalar> other{__shfl_xor_sync(all_lanes, mine.strength, distance),
                                __shfl_xor_sync(all_lanes, mine.index, distance)};
      const bool keeps_first = ((lane & distance) == 0) == ((lane & size) == 0);
      // Lanes compare rows together or not at all, so that they come to the next exchange together.
      const bool tie = mine.strength == other.strength && mine.index < top.candidates && other.index < top.candidates;
      int rows = 0;
      if (__ballot_sync(all_lanes, tie) != 0)
        rows = top.compare(top.tuples, tie ? other.index : 0, tie ? mine.index : 0);
      if ((rows != 0 ? rows < 0 : top.precedes_by_number(other, mine)) == keeps_first) mine = other;
    }
  }
  return mine;
}

template <class Scalar>
XAI_FAST_GLOBAL void sort_blocks(const TopK<Scalar> top) {
  XAI_FAST_SHARED Scalar strengths[2][block_threads];
  XAI_FAST_SHARED int32_t indices[2][block_threads];
  XAI_FAST_SHARED int32_t kept[block_warps];
  const int thread = threadIdx.x, warp = thread / warp_threads, lane = thread % warp_threads;
  const int64_t candidate = int64_t{blockIdx.x} * block_threads + thread, so_far = top.so_far();
  Entry<Scalar> mine{static_cast<Scalar>(-INFINITY), static_cast<int32_t>(top.candidates + candidate)};
  if (candidate < top.candidates) {
    const Entry<Scalar> here{strength_of(top.values[candidate]), static_cast<int32_t>(candidate)};
    if (so_far < top.k || top.precedes_best(here, so_far - 1)) mine = here;
  }
  const unsigned bits = __ballot_sync(all_lanes, mine.index < top.candidates);
  if (lane == 0) kept[warp] = __popc(bits);
  mine = sorted_in_warp(top, mine, lane);
  int side = 0;
  strengths[side][thread] = mine.strength;
  indices[side][thread] = mine.index;
  __syncthreads();
  for (int length = warp_threads; length < block_threads; length *= 2, side ^= 1) {
    const int run = thread / length, partner = (run ^ 1) * length;
    mine = {strengths[side][thread], indices[side][thread]};
    const int64_t before = count_first(length, [&](int64_t other) {
      return top.precedes({strengths[side][partner + other], indices[side][partner + other]}, mine);
    });
    const int place = (run & ~1) * length + thread % length + static_cast<int>(before);
    strengths[side ^ 1][place] = mine.strength;
    indices[side ^ 1][place] = mine.index;
    __syncthreads();
  }
  int32_t count = 0;
  for (int i = 0; i < block_warps; ++i) count += kept[i];
  if (count > top.k) count = static_cast<int32_t>(top.k);
  if (thread == 0) top.to.count[blockIdx.x] = count;
  if (thread < count) {
    top.to.strength[candidate] = strengths[side][thread];
    top.to.index[candidate] = indices[side][thread];
  }
}

template <class Scalar>
XAI_FAST_GLOBAL void merge_runs(const TopK<Scalar> top) {
  const Runs<Scalar>&from = top.from, &to = top.to;
  const int64_t slot = int64_t{blockIdx.x} * block_threads + threadIdx.x;
  const int64_t run = slot / from.length, offset = slot - run * from.length, partner = run ^ 1;
  if (run >= from.runs) return;
  const int64_t count = from.count[run], others = partner < from.runs ? from.count[partner] : 0;
  if (offset == 0 && run % 2 == 0) {
    to.count[run / 2] = static_cast<int32_t>(count + others < top.k ? count + others : top.k);
  }
  if (offset >= count) return;
  const Entry<Scalar> mine{from.strength[slot], from.index[slot]};
  const int64_t first = partner * from.length;
  const int64_t place = offset + count_first(others, [&](int64_t other) {
                          return top.precedes({from.strength[first + other], from.index[first + other]}, mine);
                        });
  if (place < top.k) {
    to.strength[run / 2 * to.length + place] = mine.strength;
    to.index[run / 2 * to.length + place] = mine.index;
  }
}

template <class Scalar>
XAI_FAST_GLOBAL void merge_best(const TopK<Scalar> top) {
  const int64_t thread = int64_t{blockIdx.x} * block_threads + threadIdx.x;
  const int64_t so_far = top.so_far(), found = top.from.count[0];
  if (thread == 0) *top.merged_count = so_far + found < top.k ? so_far + found : top.k;
  int64_t place;
  Scalar value;
  const int32_t* row;
  if (thread < top.k) {
    if (thread >= so_far) return;
    value = top.best_values[thread];
    row = top.best_tuples + thread * top.order;
    place = thread + count_first(found, [&](int64_t other) {
              return top.precedes_best({top.from.strength[other], top.from.index[other]}, thread);
            });
  } else {
    const int64_t number = thread - top.k;
    if (number >= found) return;
    const Entry<Scalar> mine{top.from.strength[number], top.from.index[number]};
    value = top.values[mine.index];
    row = top.tuples + int64_t{mine.index} * top.order;
    place = number + count_first(so_far, [&](int64_t best) { return !top.precedes_best(mine, best); });
  }
  if (place >= top.k) return;
  top.merged_values[place] = value;
  for (int j = 0; j < top.order; ++j) top.merged_tuples[place * top.order + j] = row[j];
}

template <class Scalar>
XAI_FAST_GLOBAL void copy_best(const TopK<Scalar> top) {
  const int64_t row = int64_t{blockIdx.x} * block_threads + threadIdx.x, count = *top.merged_count;
  if (row == 0) *top.best_count = count;
  if (row >= count) return;
  top.best_values[row] = top.merged_values[row];
  for (int j = 0; j < top.order; ++j) top.best_tuples[row * top.order + j] = top.merged_tuples[row * top.order + j];
}

template <class Scalar>
Runs<Scalar> take_runs(Workspace& workspace, int64_t blocks) {
  Runs<Scalar> runs{};
  runs.strength = workspace.take<Scalar>(blocks * block_threads);
  runs.index = workspace.take<int32_t>(blocks * block_threads);
  runs.count = workspace.take<int32_t>(blocks);
  return runs;
}

template <class Scalar>
void lay_out(Workspace& workspace, TopK<Scalar>& top) {
  top.from = take_runs<Scalar>(workspace, blocks_for(top.candidates));
  top.to = take_runs<Scalar>(workspace, blocks_for(top.candidates));
  top.merged_values = workspace.take<Scalar>(top.k);
  top.merged_tuples = workspace.take<int32_t>(top.k * top.order);
  top.merged_count = workspace.take<int64_t>(1);
}

template <class Scalar>
int64_t workspace_of(int64_t k, int64_t candidates, int order) {
  Workspace workspace(0);
  TopK<Scalar> top{};
  top.k = k;
  top.candidates = candidates;
  top.order = order;
  lay_out(workspace, top);
  return workspace.used();
}

template <class Scalar>
const char* run(TopK<Scalar> top, uintptr_t workspace, uintptr_t stream) {
  Workspace space(workspace);
  lay_out(space, top);
  Stream on(stream);
  const int64_t blocks = blocks_for(top.candidates);
  top.to.length = block_threads;
  top.to.runs = blocks;
  launch<sort_blocks<Scalar>>(on, blocks, top);
  std::swap(top.from, top.to);
  while (top.from.runs > 1) {
    top.to.length = 2 * top.from.length;
    top.to.runs = (top.from.runs + 1) / 2;
    launch<merge_runs<Scalar>>(on, blocks, top);
    std::swap(top.from, top.to);
  }
  launch<merge_best<Scalar>>(on, blocks_for(top.k + std::min(top.k, top.candidates)), top);
  launch<copy_best<Scalar>>(on, blocks_for(top.k), top);
  return on.error();
}

template <class Scalar>
TopK<Scalar> arguments_of(int64_t best_values, int64_t best_tuples, int64_t best_count, int64_t values, int64_t tuples,
                          int64_t k, int64_t candidates, int64_t order) {
  TopK<Scalar> top{};
  top.best_values = reinterpret_cast<Scalar*>(best_values);
  top.best_tuples = reinterpret_cast<int32_t*>(best_tuples);
  top.best_count = reinterpret_cast<int64_t*>(best_count);
  top.values = reinterpret_cast<const Scalar*>(values);
  top.tuples = reinterpret_cast<const int32_t*>(tuples);
  top.k = k;
  top.candidates = candidates;
  top.order = static_cast<int>(order);
  return top;
}

}  // namespace
}  // namespace xai_fast

using namespace xai_fast;

int64_t xai_fast_tuple_top_k_workspace(int64_t k, int64_t candidates, int64_t order, int64_t element_size) {
  const int columns = static_cast<int>(order);
  return element_size == 8 ? workspace_of<double>(k, candidates, columns) : workspace_of<float>(k, candidates, columns);
}

const char* xai_fast_tuple_top_k_cuda(int64_t best_values, int64_t best_tuples, int64_t best_count, int64_t values,
                                      int64_t tuples, int64_t k, int64_t candidates, int64_t order,
                                      int64_t element_size, int64_t workspace, int64_t stream) {
  const auto space = static_cast<uintptr_t>(workspace), on = static_cast<uintptr_t>(stream);
  if (element_size == 8) {
    return run(arguments_of<double>(best_values, best_tuples, best_count, values, tuples, k, candidates, order), space,
               on);
  }
  return run(arguments_of<float>(best_values, best_tuples, best_count, values, tuples, k, candidates, order), space,
             on);
}

// tuple_join on a GPU: the parents go into a hash table; each position is looked up and leaves one bit; the bits are
// counted, block by block; what has a bit is written behind what is before it.
#include <climits>

#include "kernels/tuple_join/parents.h"
#include "kernels/tuple_join/tuple_join_cuda.h"
#include "launch.h"

namespace xai_fast {
namespace {

constexpr int block_words = 32;  // of 32 positions each: one bit a position
constexpr int64_t block_positions = block_words * warp_threads;

struct Join {
  Parents parents;
  int32_t* out;
  int64_t* count;
  int64_t begin, positions;
  uint64_t* first_bad;
  uint32_t* bits;       // (blocks, block_words)
  int64_t* block_sums;  // (blocks,), then how many there are before each block
  int64_t blocks;
};

XAI_FAST_GLOBAL void clear_table(const Join join) {
  const int64_t slot = int64_t{blockIdx.x} * block_threads + threadIdx.x;
  if (slot < join.parents.slots) join.parents.table[slot] = empty_slot;
  if (slot == 0) *join.first_bad = static_cast<uint64_t>(all_good);
}

XAI_FAST_GLOBAL void insert_parents(const Join join) {
  const Parents& parents = join.parents;
  const int64_t parent = int64_t{blockIdx.x} * block_threads + threadIdx.x;
  if (parent >= parents.count) return;
  if (!parents.rises(parent)) {
    swap_for_smaller(join.first_bad, static_cast<uint64_t>(parent));
    return;
  }
  const uint64_t hash = parents.hash(parent), mine = Parents::entry(hash, parent);
  for (int64_t slot = parents.first_slot(hash);; slot = parents.next_slot(slot)) {
    const uint64_t held = compare_and_swap(parents.table + slot, empty_slot, mine);
    if (held == empty_slot) return;
    if (Parents::same_hash(held, hash) && parents.equal(Parents::parent_of(held), parent)) {
      // The earlier of the equal parents stays, so that of all that are equal to another the second is the first bad
      // one.
      const int64_t other = Parents::parent_of(swap_for_smaller(parents.table + slot, mine));
      swap_for_smaller(join.first_bad, static_cast<uint64_t>(other > parent ? other : parent));
      return;
    }
  }
}

// A warp marks 32 positions at a time; a block has `block_words` such words.
XAI_FAST_GLOBAL void mark_candidates(const Join join) {
  XAI_FAST_SHARED int32_t sums[block_warps];
  const int warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  int32_t sum = 0;
  for (int word = warp; word < block_words; word += block_warps) {
    const int64_t offset = (int64_t{blockIdx.x} * block_words + word) * warp_threads + lane;
    bool kept = false;
    if (offset < join.positions) {
      const int64_t position = join.begin + offset, parent = position / join.parents.features;
      const int64_t feature = position - parent * join.parents.features;
      kept = join.parents.is_candidate(parent, join.parents.hash(parent), feature);
    }
    const unsigned bits = __ballot_sync(all_lanes, kept);
    if (lane == 0) join.bits[int64_t{blockIdx.x} * block_words + word] = bits;
    sum += __popc(bits);
  }
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    int64_t total = 0;
    for (int i = 0; i < block_warps; ++i) total += sums[i];
    join.block_sums[blockIdx.x] = total;
  }
}

template <class Value>
__device__ Value sum_of_lanes_before(Value value, int lane) {
  Value sum = value;
  for (int distance = 1; distance < warp_threads; distance *= 2) {
    const Value other = __shfl_up_sync(all_lanes, sum, distance);
    if (lane >= distance) sum += other;
  }
  return sum - value;
}

// One block adds up the sums of all.
XAI_FAST_GLOBAL void add_blocks(const Join join) {
  XAI_FAST_SHARED int64_t of_warp[block_warps];
  const int warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  int64_t before = 0;
  for (int64_t first = 0; first < join.blocks; first += block_threads) {
    const int64_t block = first + threadIdx.x;
    const int64_t mine = block < join.blocks ? join.block_sums[block] : 0;
    int64_t here = before + sum_of_lanes_before(mine, lane);
    if (lane == warp_threads - 1) of_warp[warp] = here - before + mine;
    __syncthreads();
    for (int i = 0; i < block_warps; ++i) {
      if (i < warp) here += of_warp[i];
      before += of_warp[i];
    }
    if (block < join.blocks) join.block_sums[block] = here;
    __syncthreads();  // the sums of the warps are overwritten in the next round
  }
  if (threadIdx.x == 0) {
    const int64_t bad = static_cast<int64_t>(*join.first_bad);
    *join.count = bad == all_good ? before : -1 - bad;
  }
}

XAI_FAST_GLOBAL void write_candidates(const Join join) {
  XAI_FAST_SHARED int32_t before_word[block_words];
  const int warp = threadIdx.x / warp_threads, lane = threadIdx.x % warp_threads;
  const uint32_t* bits = join.bits + int64_t{blockIdx.x} * block_words;
  if (warp == 0) before_word[lane] = sum_of_lanes_before(__popc(bits[lane]), lane);
  __syncthreads();
  const bool good = *join.first_bad == static_cast<uint64_t>(all_good);
  for (int word = warp; word < block_words; word += block_warps) {
    const uint32_t here = bits[word];
    if (good && (here >> lane & 1)) {
      const int64_t offset = (int64_t{blockIdx.x} * block_words + word) * warp_threads + lane;
      const int64_t position = join.begin + offset, parent = position / join.parents.features;
      const int64_t row = join.block_sums[blockIdx.x] + before_word[word] + __popc(here & ((1u << lane) - 1));
      join.parents.write(parent, position - parent * join.parents.features, join.out + row * (join.parents.order + 1));
    }
  }
}

void lay_out(Workspace& workspace, Join& join) {
  join.parents.table = workspace.take<uint64_t>(join.parents.slots);
  join.first_bad = workspace.take<uint64_t>(1);
  join.bits = workspace.take<uint32_t>(join.blocks * block_words);
  join.block_sums = workspace.take<int64_t>(join.blocks);
}

Join sizes_of(int64_t parent_count, int64_t positions) {
  Join join{};
  join.parents.count = parent_count;
  join.parents.slots = slots_for(parent_count);
  join.positions = positions;
  join.blocks = (positions + block_positions - 1) / block_positions;
  return join;
}

}  // namespace
}  // namespace xai_fast

using namespace xai_fast;

int64_t xai_fast_tuple_join_workspace(int64_t parent_count, int64_t positions) {
  Workspace workspace(0);
  Join join = sizes_of(parent_count, positions);
  lay_out(workspace, join);
  return workspace.used();
}

const char* xai_fast_tuple_join_cuda(int64_t out, int64_t count, int64_t parents, int64_t parent_count, int64_t order,
                                     int64_t features, int64_t begin, int64_t end, int64_t workspace, int64_t stream) {
  Join join = sizes_of(parent_count, end - begin);
  join.parents.rows = reinterpret_cast<const int32_t*>(parents);
  join.parents.features = features;
  join.parents.order = static_cast<int>(order);
  join.out = reinterpret_cast<int32_t*>(out);
  join.count = reinterpret_cast<int64_t*>(count);
  join.begin = begin;
  Workspace space(static_cast<uintptr_t>(workspace));
  lay_out(space, join);
  Stream on(static_cast<uintptr_t>(stream));
  launch<clear_table>(on, blocks_for(join.parents.slots), join);
  launch<insert_parents>(on, blocks_for(parent_count), join);
  launch<mark_candidates>(on, join.blocks, join);
  launch<add_blocks>(on, 1, join);
  launch<write_candidates>(on, join.blocks, join);
  return on.error();
}

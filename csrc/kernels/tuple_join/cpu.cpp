// Blocks of positions are worked on side by side, each writes where its positions would be if all were candidates, and
// then the blocks are moved together. What a block writes depends on nothing but its positions.
#include "kernels/tuple_join/tuple_join.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/tuple_join/parents.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t block_positions = 1 << 13;

// Returns the first row that does not rise, is out of range or equals an earlier one, or all_good.
int64_t insert_all(const Parents& parents) {
  std::fill_n(parents.table, parents.slots, empty_slot);
  for (int64_t parent = 0; parent < parents.count; ++parent) {
    if (!parents.rises(parent)) return parent;
    const uint64_t hash = parents.hash(parent);
    int64_t slot = parents.first_slot(hash);
    for (; parents.table[slot] != empty_slot; slot = parents.next_slot(slot)) {
      const uint64_t held = parents.table[slot];
      if (Parents::same_hash(held, hash) && parents.equal(Parents::parent_of(held), parent)) return parent;
    }
    parents.table[slot] = Parents::entry(hash, parent);
  }
  return all_good;
}

// Writes the candidates of the positions begin..end-1 and returns how many there are.
int64_t join_block(const Parents& parents, int64_t begin, int64_t end, int32_t* out) {
  const int32_t* const first = out;
  for (int64_t position = begin; position < end;) {
    const int64_t parent = position / parents.features, offset = parent * parents.features;
    const int64_t stop = std::min(end, offset + parents.features);
    const uint64_t hash = parents.hash(parent);
    for (; position < stop; ++position) {
      const int64_t feature = position - offset;
      if (!parents.is_candidate(parent, hash, feature)) continue;
      parents.write(parent, feature, out);
      out += parents.order + 1;
    }
  }
  return (out - first) / (parents.order + 1);
}

}  // namespace

void tuple_join(const TupleJoin& arguments) {
  const int64_t slots = slots_for(arguments.parent_count), columns = arguments.order + 1;
  const std::unique_ptr<uint64_t[]> table(new uint64_t[slots]);
  const Parents parents{arguments.parents, arguments.parent_count, arguments.features, table.get(), slots,
                        arguments.order};
  const int64_t bad = insert_all(parents);
  if (bad != all_good) {
    *arguments.count = -1 - bad;
    return;
  }
  const int64_t positions = arguments.end - arguments.begin;
  const int64_t blocks = (positions + block_positions - 1) / block_positions;
  std::vector<int64_t> kept(blocks);
#pragma omp parallel for num_threads(useful_threads(arguments.threads, positions)) schedule(dynamic)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * block_positions, end = std::min(positions, begin + block_positions);
    kept[block] = join_block(parents, arguments.begin + begin, arguments.begin + end, arguments.out + begin * columns);
  }
  int64_t count = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    const int32_t* from = arguments.out + block * block_positions * columns;
    std::memmove(arguments.out + count * columns, from, kept[block] * columns * sizeof *from);
    count += kept[block];
  }
  *arguments.count = count;
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

// Blocks of positions are worked on side by side, each writes where its positions would be if all were candidates, and
// then the blocks are moved together. What a block writes depends on nothing but its positions.
#include "kernels/tuple_join/tuple_join.h"

#include <algorithm>
#include <cmath>
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
int64_t join_block(const Parents& parents, int64_t begin, int64_t end, int64_t min_support, int32_t* out) {
  const int32_t* const first = out;
  for (int64_t position = begin; position < end;) {
    const int64_t parent = position / parents.features, offset = parent * parents.features;
    const int64_t stop = std::min(end, offset + parents.features);
    const uint64_t hash = parents.hash(parent);
    for (; position < stop; ++position) {
      const int64_t feature = position - offset;
      if (!parents.is_candidate(parent, hash, feature, min_support)) continue;
      parents.write(parent, feature, out);
      out += parents.order + 1;
    }
  }
  return (out - first) / (parents.order + 1);
}

template <class Scalar>
struct Candidate {
  Scalar strength, value;
  const int32_t* row;
};

// Strictly before: by strength, then by the row, then the earlier one.
template <class Scalar>
struct Before {
  int order;
  bool operator()(const Candidate<Scalar>& one, const Candidate<Scalar>& other) const {
    if (one.strength != other.strength) return one.strength > other.strength;
    const int rows = compare_rows(one.row, other.row, order);
    return rows != 0 ? rows < 0 : one.row < other.row;
  }
};

template <class Scalar>
Candidate<Scalar> candidate_at(const Scalar* values, const int32_t* rows, int order, int64_t index) {
  return {strength_of(values[index]), values[index], rows + index * order};
}

// The candidates that belong among the best so far, of which `last` is the last if there are k.
template <class Scalar>
std::vector<Candidate<Scalar>> those_that_count(const TupleTopK& arguments, const Candidate<Scalar>* last) {
  const auto* values = static_cast<const Scalar*>(arguments.values);
  const int threads = useful_threads(arguments.threads, arguments.candidates);
  std::vector<std::vector<Candidate<Scalar>>> found(threads);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int part = 0; part < threads; ++part) {
    const int64_t begin = arguments.candidates * part / threads, end = arguments.candidates * (part + 1) / threads;
    for (int64_t i = begin; i < end; ++i) {
      if (last && strength_of(values[i]) < last->strength) continue;
      const auto here = candidate_at(values, arguments.tuples, arguments.order, i);
      // One that equals the last of the best stands behind it, wherever it is in memory.
      const bool stands_before =
          !last || here.strength > last->strength || compare_rows(here.row, last->row, arguments.order) < 0;
      if (stands_before) found[part].push_back(here);
    }
  }
  for (int part = 1; part < threads; ++part) found[0].insert(found[0].end(), found[part].begin(), found[part].end());
  return std::move(found[0]);
}

template <class Scalar>
void top_k(const TupleTopK& arguments) {
  auto* best_values = static_cast<Scalar*>(arguments.best_values);
  const int order = arguments.order;
  const int64_t so_far = std::clamp<int64_t>(*arguments.best_count, 0, arguments.k);
  std::vector<Candidate<Scalar>> best, merged;
  for (int64_t i = 0; i < so_far; ++i) best.push_back(candidate_at(best_values, arguments.best_tuples, order, i));
  auto found = those_that_count<Scalar>(arguments, so_far == arguments.k ? &best.back() : nullptr);
  const Before<Scalar> before{order};
  if (static_cast<int64_t>(found.size()) > arguments.k) {
    std::nth_element(found.begin(), found.begin() + arguments.k, found.end(), before);
    found.resize(arguments.k);
  }
  std::sort(found.begin(), found.end(), before);
  merged.resize(best.size() + found.size());
  // Of equals std::merge takes those of the first range first.
  std::merge(best.begin(), best.end(), found.begin(), found.end(), merged.begin(),
             [order](const Candidate<Scalar>& one, const Candidate<Scalar>& other) {
               return one.strength != other.strength ? one.strength > other.strength
                                                     : compare_rows(one.row, other.row, order) < 0;
             });
  merged.resize(std::min<size_t>(merged.size(), arguments.k));
  std::vector<int32_t> rows(merged.size() * order);  // as the rows of the best are among what is read
  for (size_t i = 0; i < merged.size(); ++i) std::copy_n(merged[i].row, order, rows.data() + i * order);
  for (size_t i = 0; i < merged.size(); ++i) best_values[i] = merged[i].value;
  std::copy(rows.begin(), rows.end(), arguments.best_tuples);
  *arguments.best_count = static_cast<int64_t>(merged.size());
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
    kept[block] = join_block(parents, arguments.begin + begin, arguments.begin + end, arguments.min_support,
                             arguments.out + begin * columns);
  }
  int64_t count = 0;
  for (int64_t block = 0; block < blocks; ++block) {
    const int32_t* from = arguments.out + block * block_positions * columns;
    std::memmove(arguments.out + count * columns, from, kept[block] * columns * sizeof *from);
    count += kept[block];
  }
  *arguments.count = count;
}

void tuple_top_k(const TupleTopK& arguments) {
  arguments.dtype == Dtype::float64 ? top_k<double>(arguments) : top_k<float>(arguments);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

// The parents of tuple_join in a hash table, and which of their extensions are candidates: for g++ and nvcc.
//
// The hash of a set is the sum of its features' hashes, so that of a subset it is a subtraction. A slot has the upper
// half of the hash above the number of the parent, so that of two equal parents the smaller slot is the earlier one.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

constexpr uint64_t empty_slot = ~uint64_t{0};
constexpr int64_t all_good = INT64_MAX;

// (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014: the finalizer)
XAI_FAST_HD uint64_t hash_of_feature(int64_t feature) {
  uint64_t z = static_cast<uint64_t>(feature + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A power of two, at least twice the parents.
XAI_FAST_HD int64_t slots_for(int64_t parents) {
  int64_t slots = 64;
  while (slots < 2 * parents) slots *= 2;
  return slots;
}

struct Parents {
  const int32_t* rows;
  int64_t count, features;
  uint64_t* table;
  int64_t slots;
  int order;

  XAI_FAST_HD const int32_t* row(int64_t parent) const { return rows + parent * order; }
  XAI_FAST_HD static uint64_t entry(uint64_t hash, int64_t parent) {
    return (hash & 0xffffffff00000000u) | static_cast<uint32_t>(parent);
  }
  XAI_FAST_HD static int64_t parent_of(uint64_t entry) { return static_cast<int64_t>(entry & 0xffffffffu); }
  XAI_FAST_HD static bool same_hash(uint64_t entry, uint64_t hash) { return (entry ^ hash) >> 32 == 0; }
  XAI_FAST_HD int64_t first_slot(uint64_t hash) const { return static_cast<int64_t>(hash & (slots - 1)); }
  XAI_FAST_HD int64_t next_slot(int64_t slot) const { return (slot + 1) & (slots - 1); }

  XAI_FAST_HD uint64_t hash(int64_t parent) const {
    uint64_t sum = 0;
    for (int j = 0; j < order; ++j) sum += hash_of_feature(row(parent)[j]);
    return sum;
  }

  XAI_FAST_HD bool rises(int64_t parent) const {
    int64_t before = -1;
    bool good = true;
    for (int j = 0; j < order; ++j) {
      good = good && row(parent)[j] > before;
      before = row(parent)[j];
    }
    return good && before < features;
  }

  XAI_FAST_HD bool equal(int64_t one, int64_t other) const {
    bool same = true;
    for (int j = 0; j < order; ++j) same = same && row(one)[j] == row(other)[j];
    return same;
  }

  // Whether `other` is `parent` with its feature number `without` left out and `feature` put in its place in order.
  XAI_FAST_HD bool is_neighbour(int64_t other, int64_t parent, int without, int64_t feature) const {
    const int32_t *from = row(parent), *to = row(other);
    bool same = true, put = false;
    for (int j = 0, i = 0; j < order; ++j) {
      if (i == without) ++i;
      const bool here = !put && (i >= order || feature < from[i]);
      same = same && to[j] == (here ? feature : from[i]);
      put = put || here;
      if (!here) ++i;
    }
    return same;
  }

  // The number of that parent, or -1; `hash` is its hash.
  XAI_FAST_HD int64_t find(uint64_t hash, int64_t parent, int without, int64_t feature) const {
    for (int64_t slot = first_slot(hash);; slot = next_slot(slot)) {
      const uint64_t held = table[slot];
      if (held == empty_slot) return -1;
      if (same_hash(held, hash) && is_neighbour(parent_of(held), parent, without, feature)) return parent_of(held);
    }
  }

  // Whether `parent` and `feature` make a candidate; `of_parent` is the hash of the parent.
  XAI_FAST_HD bool is_candidate(int64_t parent, uint64_t of_parent, int64_t feature) const {
    const int32_t* from = row(parent);
    for (int j = 0; j < order; ++j) {
      if (from[j] == feature) return false;
    }
    const uint64_t all = of_parent + hash_of_feature(feature);
    for (int j = 0; j < order; ++j) {
      const int64_t found = find(all - hash_of_feature(from[j]), parent, j, feature);
      if (found >= 0 && found < parent) return false;
    }
    return true;
  }

  XAI_FAST_HD void write(int64_t parent, int64_t feature, int32_t* out) const {
    const int32_t* from = row(parent);
    int i = 0;
    while (i < order && from[i] < feature) out[i] = from[i], ++i;
    out[i] = static_cast<int32_t>(feature);
    for (; i < order; ++i) out[i + 1] = from[i];
  }
};

}  // namespace xai_fast

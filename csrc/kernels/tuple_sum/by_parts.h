// The sum of csrc/tuples.h with few values alive at a time, for GPU threads, which have no place for all that the
// subsets of five or six directions share: one set S after the other, and for the partitions of R = T - S one number of
// blocks after the other.
//
// P_R,j is the sum over the blocks B that hold the first direction of R, of z_B * P_(R - B),j-1: only subsets without
// that direction are needed, 26 of six directions. P_X,j takes the place of P_X,j-1: going from large masks to small
// ones, what it is made of is still there. Masks are of positions in R, which the compiler knows; where those are in T
// it is told by `bits`.
#pragma once

#include <cstdint>

#include "combinations.h"
#include "tuples.h"

namespace xai_fast {

// The column of a subset among the members, as TupleShape::column, when the subset is known at run time only.
template <int order>
XAI_FAST_HD int column_of(int mask) {
  int64_t rank = 0;
  int size = 0;
  for (int i = 0; i < order; ++i) {
    if (mask >> i & 1) rank += binomial(int64_t{i}, ++size);
  }
  int smaller = 0;
  for (int other = 1; other < size; ++other) smaller += static_cast<int>(binomial(int64_t{order}, other));
  return smaller + static_cast<int>(rank);
}

// The set whose i-th element is the i-th one of `all` for each i in `mask`.
XAI_FAST_HD int mask_within(int all, int mask) {
  int result = 0;
  for (; mask != 0; mask >>= 1) {
    if (mask & 1) result |= all & -all;
    all &= all - 1;
  }
  return result;
}

template <class Lane, int order>
struct TupleSumByParts {
  using Shape = TupleShape<order>;
  using Scalar = typename Lane::Scalar;
  using Real = typename Lane::Real;

  const int32_t* row_of;  // by the mask in R of a subset of one to n directions
  const Scalar *s, *z;    // at the unit in hand; rows are `units` apart
  int32_t units;
  Real products[1 << order];  // P_X,j of the j in hand

  static constexpr bool has_partition(int set, int blocks) {
    return blocks <= size_of_set(set) && blocks >= Shape::fewest_blocks(size_of_set(set));
  }

  template <int set>
  XAI_FAST_HD Real row() const {
    return Lane::load(z + int64_t{row_of[set]} * units);
  }

  // P_set,blocks: what is a row, or the product of two, is not among the products.
  template <int set, int blocks>
  XAI_FAST_HD Real product() const {
    constexpr int first = set & -set, second = set ^ first;
    if constexpr (blocks == 1) return row<set>();
    if constexpr (blocks == 2 && size_of_set(set) == 2) return row<first>() * row<second>();
    if constexpr (blocks > 1 && !(blocks == 2 && size_of_set(set) == 2)) return products[set];
  }

  // The sum over `block` and the smaller ones (as numbers) that hold the set's first direction, but the set itself.
  template <int set, int blocks, int block>
  XAI_FAST_HD Real over_blocks(Real sum) const {
    constexpr int rest = set ^ block, next = (block - 1) & set;
    constexpr bool counts = (block & set & -set) != 0 && rest != 0 && size_of_set(block) <= Shape::forward;
    if constexpr (counts) {
      if constexpr (order > 5) asm volatile("" ::: "memory");  // rows are loaded when they are needed, and not kept
      if constexpr (has_partition(rest, blocks - 1)) sum = sum + row<block>() * product<rest, blocks - 1>();
    }
    if constexpr (next != 0) sum = over_blocks<set, blocks, next>(sum);
    return sum;
  }

  // P_X,blocks of `set` and the smaller subsets X of `all`.
  template <int all, int blocks, int set>
  XAI_FAST_HD void next_products() {
    if constexpr (has_partition(set, blocks) && size_of_set(set) > 2) {
      products[set] = over_blocks<set, blocks, set>(Real{});
    }
    constexpr int next = (set - 1) & all;
    if constexpr (next != 0) next_products<all, blocks, next>();
  }

  // The sum over j >= blocks of s^(j) * P_R,j; products hold P_X,blocks-1.
  template <int all, int blocks>
  XAI_FAST_HD Real over_partitions(Real sum) {
    if constexpr (has_partition(all, blocks))
      sum = sum + Lane::load(s + int64_t{blocks} * units) * over_blocks<all, blocks, all>(Real{});
    if constexpr (blocks < size_of_set(all)) {
      next_products<(all & (all - 1)), blocks, (all & (all - 1))>();
      sum = over_partitions<all, blocks + 1>(sum);
    }
    return sum;
  }

  // The sum over the partitions of R, which has `size` directions.
  template <int size>
  XAI_FAST_HD Real of() {
    constexpr int all = (1 << size) - 1;
    return over_partitions<all, 2>(Real{});
  }
};

}  // namespace xai_fast

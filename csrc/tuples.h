// The 2n+1 rule's sum of one tuple of k directions at one vector of units: the arithmetic of tuple_sum. For SIMD lanes,
// scalars and GPU threads.
//
// With P_S,j the sum over the partitions of S into j blocks of at most n directions of the product of the blocks' rows,
//
//     sum over S in T, |S| <= m, of mu_S * sum over j >= 2 of s^(j) * P_(T - S),j
//
// where P_S,j is the sum over the blocks B that hold the first direction of S, of z_B * P_(S - B),j-1. So all subsets
// share their products: 44 products and sums for four directions instead of 26 terms of up to five factors. Sets are
// bit masks of positions in the tuple, and known to the compiler, so that nothing of the recursion is left at run time.
#pragma once

#include <cstdint>

#include "host_device.h"
#include "partitions.h"

namespace xai_fast {

constexpr int size_of_set(int mask) { return mask ? 1 + size_of_set(mask & (mask - 1)) : 0; }
constexpr int binomial(int n, int k) { return k == 0 ? 1 : k > n ? 0 : binomial(n - 1, k - 1) + binomial(n - 1, k); }

template <int order>
struct TupleShape {
  static constexpr int forward = order / 2;         // n
  static constexpr int backward = (order - 1) / 2;  // m
  static constexpr int full = (1 << order) - 1;

  // The number of subsets of one to `most` directions.
  static constexpr int subsets(int most) { return most < 1 ? 0 : subsets(most - 1) + binomial(order, most); }
  static constexpr int members = subsets(forward);

  // The column of a subset among the members: small ones first, those of a size in the order of their masks, which is
  // the colexicographic one.
  static constexpr int column(int mask) {
    int at = subsets(size_of_set(mask) - 1);
    for (int other = 1; other < mask; ++other) at += size_of_set(other) == size_of_set(mask);
    return at;
  }
  static constexpr int fewest_blocks(int size) { return (size + forward - 1) / forward; }
};

template <class Lane, int order>
struct TupleSum {
  using Shape = TupleShape<order>;
  using Scalar = typename Lane::Scalar;
  using Real = typename Lane::Real;

  Real rows[Shape::members];
  Real products[Shape::full + 1][order + 1];  // P_S,j

  // products[set][blocks] += rows of `block` and of all smaller ones (as numbers) that hold the set's first direction.
  template <int set, int blocks, int block, bool first>
  XAI_FAST_HD void add_blocks() {
    constexpr int rest = set ^ block, size = size_of_set(rest);
    constexpr bool holds_first = (block & set & -set) != 0;
    constexpr bool fits =
        holds_first && size_of_set(block) <= Shape::forward &&
        (rest ? blocks - 1 >= Shape::fewest_blocks(size) && blocks - 1 <= size && blocks > 1 : blocks == 1);
    if constexpr (fits) {
      const Real row = rows[Shape::column(block)];
      if constexpr (rest == 0) {
        products[set][blocks] = row;
      } else if constexpr (first) {
        products[set][blocks] = row * products[rest][blocks - 1];
      } else {
        products[set][blocks] = products[set][blocks] + row * products[rest][blocks - 1];
      }
    }
    constexpr int next = (block - 1) & set;
    if constexpr (next != 0) add_blocks<set, blocks, next, first && !fits>();
  }

  template <int set, int blocks>
  XAI_FAST_HD void multiply_from() {
    if constexpr (blocks <= size_of_set(set)) {
      add_blocks<set, blocks, set, true>();
      multiply_from<set, blocks + 1>();
    }
  }

  template <int set>
  XAI_FAST_HD void multiply_all() {
    if constexpr (set <= Shape::full) {
      multiply_from<set, Shape::fewest_blocks(size_of_set(set))>();
      multiply_all<set + 1>();
    }
  }

  template <int column_of_set>
  XAI_FAST_HD void load_rows(const int32_t* members, Rows<Scalar> z) {
    if constexpr (column_of_set < Shape::members) {
      rows[column_of_set] = Lane::load(z[members[column_of_set]]);
      load_rows<column_of_set + 1>(members, z);
    }
  }

  // sums[j] += mu_S P_(T - S),j for S = `part` and all sets after it.
  template <int part>
  XAI_FAST_HD void add_parts(const int32_t* members, Rows<Scalar> adjoints, Real* sums) {
    if constexpr (part <= Shape::full) {
      if constexpr (size_of_set(part) <= Shape::backward) {
        constexpr int rest = Shape::full ^ part, size = order - size_of_set(part);
        constexpr int column = part ? Shape::column(part) : 0;
        const Real mu = Lane::load(adjoints[part ? members[column] + 1 : 0]);
        constexpr int fewest = Shape::fewest_blocks(size) > 2 ? Shape::fewest_blocks(size) : 2;
        for (int j = fewest; j <= size; ++j) sums[j] = sums[j] + mu * products[rest][j];
      }
      add_parts<part + 1>(members, adjoints, sums);
    }
  }

  // s[j] is the j-th derivative, adjoints[0] that of no direction, adjoints[r + 1] that of the set of row r.
  XAI_FAST_HD Real of(const int32_t* members, Rows<Scalar> s, Rows<Scalar> z, Rows<Scalar> adjoints) {
    load_rows<0>(members, z);
    multiply_all<1>();
    Real sums[order + 1];
    for (int j = 0; j <= order; ++j) sums[j] = Real{};
    add_parts<0>(members, adjoints, sums);
    Real total = sums[order] * Lane::load(s[order]);
    for (int j = order - 1; j >= 2; --j) total = total + sums[j] * Lane::load(s[j]);
    return total;
  }
};

}  // namespace xai_fast

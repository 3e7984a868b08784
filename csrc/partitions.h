// Sums of products of rows over the terms of a target: the arithmetic of partition_sum, for a few vectors of units at a
// time. For SIMD lanes, scalars and GPU threads.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

// Terms that share the derivative and the adjoint, which are multiplied once.
struct TermGroup {
  int32_t order, adjoint;  // adjoint -1: none
  int32_t first_term, end_term;
};

struct PartitionProgram {
  const TermGroup* groups;
  const int64_t* group_offsets;  // (targets + 1,)
  const int32_t* block_offsets;  // (terms + 1,)
  const int32_t* blocks;
};

// Arrays of rows that are `stride` entries apart, at the first of the units in hand.
template <class Scalar>
struct Rows {
  const Scalar* first;
  int64_t stride;
  XAI_FAST_HD const Scalar* operator[](int64_t row) const { return first + row * stride; }
};

// total[i] = the sum over the target's terms, of the i-th vector of units.
template <class Lane, int vectors, class Scalar = typename Lane::Scalar>
XAI_FAST_HD void sum_over_terms(const PartitionProgram& program, int64_t target, Rows<Scalar> s, Rows<Scalar> rows,
                                Rows<Scalar> adjoints, typename Lane::Real* total) {
  using Real = typename Lane::Real;
  constexpr int lanes = sizeof(Real) / sizeof(Scalar);
  for (int i = 0; i < vectors; ++i) total[i] = Real{};
  for (int64_t g = program.group_offsets[target]; g < program.group_offsets[target + 1]; ++g) {
    const TermGroup group = program.groups[g];
    Real sum[vectors];
    for (int i = 0; i < vectors; ++i) sum[i] = Real{};
    for (int32_t k = group.first_term; k < group.end_term; ++k) {
      const int32_t* block = program.blocks + program.block_offsets[k];
      const int32_t* end = program.blocks + program.block_offsets[k + 1];
      Real product[vectors];
      for (int i = 0; i < vectors; ++i) {
        product[i] = block == end ? Real{} + static_cast<Scalar>(1) : Lane::load(rows[*block] + i * lanes);
      }
      while (block != end && ++block != end) {
        for (int i = 0; i < vectors; ++i) product[i] = product[i] * Lane::load(rows[*block] + i * lanes);
      }
      for (int i = 0; i < vectors; ++i) sum[i] = sum[i] + product[i];
    }
    if (group.adjoint >= 0) {
      for (int i = 0; i < vectors; ++i) sum[i] = sum[i] * Lane::load(adjoints[group.adjoint] + i * lanes);
    }
    for (int i = 0; i < vectors; ++i) total[i] = total[i] + sum[i] * Lane::load(s[group.order] + i * lanes);
  }
}

}  // namespace xai_fast

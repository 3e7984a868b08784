// The derivatives of an elementwise function at a stretch of units, a row each.
#pragma once

#include <algorithm>
#include <cstring>

#include "activations.h"
#include "lanes.h"

namespace xai_fast {
namespace XAI_FAST_ISA {

// The function, and which of its derivatives are wanted.
struct DerivativesOf {
  Activation activation;
  const double* parameters;
  int first_order, last_order;
};

template <Activation which, class Lane>
void write_derivatives_of(const DerivativesOf& wanted, const typename Lane::Scalar* values, int64_t units,
                          typename Lane::Scalar* rows, int64_t stride) {
  using Real = typename Lane::Real;
  for (int64_t u = 0; u < units; u += Lane::count) {
    Real z{};
    std::memcpy(&z, values + u, std::min<int64_t>(Lane::count, units - u) * sizeof(typename Lane::Scalar));
    Real s[max_order + 1];
    Derivatives<Lane>{wanted.first_order, wanted.last_order, s}.template of<which>(z, wanted.parameters);
    for (int k = wanted.first_order; k <= wanted.last_order; ++k) store(rows + k * stride + u, s[k]);
  }
}

// rows[k * stride + u] = the k-th derivative at values[u], in whole vectors: up to one less than their length is
// written behind the last unit.
template <class Lane>
void write_derivatives(const DerivativesOf& wanted, const typename Lane::Scalar* values, int64_t units,
                       typename Lane::Scalar* rows, int64_t stride) {
  using A = Activation;
  using Scalar = typename Lane::Scalar;
  static constexpr void (*table[])(const DerivativesOf&, const Scalar*, int64_t, Scalar*, int64_t) = {
      write_derivatives_of<A::exp, Lane>,         write_derivatives_of<A::expm1, Lane>,
      write_derivatives_of<A::log, Lane>,         write_derivatives_of<A::log1p, Lane>,
      write_derivatives_of<A::sqrt, Lane>,        write_derivatives_of<A::rsqrt, Lane>,
      write_derivatives_of<A::reciprocal, Lane>,  write_derivatives_of<A::pow, Lane>,
      write_derivatives_of<A::tanh, Lane>,        write_derivatives_of<A::sigmoid, Lane>,
      write_derivatives_of<A::log_sigmoid, Lane>, write_derivatives_of<A::softplus, Lane>,
      write_derivatives_of<A::gelu, Lane>,        write_derivatives_of<A::gelu_tanh, Lane>,
      write_derivatives_of<A::silu, Lane>,        write_derivatives_of<A::mish, Lane>,
      write_derivatives_of<A::elu, Lane>,         write_derivatives_of<A::hardswish, Lane>,
      write_derivatives_of<A::sin, Lane>,         write_derivatives_of<A::cos, Lane>,
      write_derivatives_of<A::erf, Lane>};
  table[static_cast<int>(wanted.activation)](wanted, values, units, rows, stride);
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

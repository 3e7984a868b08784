// What the arithmetic of activations.h, partitions.h and tuples.h asks of a Lane: vectors of simd.h, and single numbers
// for what is left behind the last whole vector.
#pragma once

#include "host_device.h"
#include "simd.h"

namespace xai_fast {
namespace XAI_FAST_ISA {

template <class Vectors>
struct Lanes : Vectors {
  using Scalar = typename Vectors::Scalar;
  using Real = typename Vectors::Real;
  static constexpr int count = sizeof(Real) / sizeof(Scalar);
  static XAI_FAST_HD Real load(const Scalar* from) { return xai_fast::XAI_FAST_ISA::load<Real>(from); }
  template <class Condition>
  static XAI_FAST_HD Real select(Condition condition, Real yes, Real no) {
    return condition ? yes : no;
  }
  template <class Function>
  static XAI_FAST_HD Real each(Real x, Function f) {
    for (int lane = 0; lane < count; ++lane) x[lane] = f(x[lane]);
    return x;
  }
};

template <class Number>
struct OneLane {
  using Scalar = Number;
  using Real = Number;
  static XAI_FAST_HD Real load(const Scalar* from) { return *from; }
};

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

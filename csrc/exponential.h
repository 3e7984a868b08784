// The exponential function, expm1 and the tail of the normal distribution, for scalars, SIMD lanes and GPU threads.
//
// A Lane has
//   Scalar, Real, Word, Int             float or double, or vectors of it, and integers of its width;
//   real_of(Word), bits_of(Real)        the same bits;
//   select(Int or bool, Real, Real).
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

// c0 + x (c1 + x (c2 + ...)), the coefficients rounded to Scalar.
template <class Scalar, class Real>
XAI_FAST_HD Real horner(Real, double last) {
  return Real{} + static_cast<Scalar>(last);
}
template <class Scalar, class Real, class... Rest>
XAI_FAST_HD Real horner(Real x, double first, Rest... rest) {
  return horner<Scalar>(x, rest...) * x + static_cast<Scalar>(first);
}

template <class Scalar>
struct Exponent;

template <>
struct Exponent<float> {
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float shift = 0x1.8p23f;                  // adding it leaves a whole number in the low bits
  static constexpr float lowest = -104.0f, highest = 89.0f;  // the result is 0, or infinite
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  // (exp(r) - 1 - r) / r^2, |r| <= ln(2) / 2; its Taylor series, what is left out is 5e-9 of exp(r).
  template <class Real>
  static XAI_FAST_HD Real rest(Real r) {
    return horner<float>(r, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040);
  }
};

template <>
struct Exponent<double> {
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double shift = 0x1.8p52;
  static constexpr double lowest = -746.0, highest = 710.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  // As above; 5e-18.
  template <class Real>
  static XAI_FAST_HD Real rest(Real r) {
    return horner<double>(r, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
                          1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800);
  }
};

template <class Real>
struct Exponential {
  Real value, minus_one;  // exp(x), and exp(x) - 1 without cancellation
};

// Both to a few roundings; 0 and infinity where they are the nearest.
template <class Lane>
XAI_FAST_HD Exponential<typename Lane::Real> exponential(typename Lane::Real x) {
  using Real = typename Lane::Real;
  using Scalar = typename Lane::Scalar;
  using Word = typename Lane::Word;
  using Int = typename Lane::Int;
  using Layout = Exponent<Scalar>;
  const Real none{};
  x = Lane::select(x < Layout::lowest, none + Layout::lowest, x);
  x = Lane::select(x > Layout::highest, none + Layout::highest, x);  // written so that NaN stays
  const Real shifted = x * static_cast<Scalar>(1.44269504088896341) + Layout::shift;
  const Real n = shifted - Layout::shift;
  const Real r = (x - n * Layout::ln2_high) - n * Layout::ln2_low;
  const Real q = Layout::rest(r) * r * r + r;
  // 2^n in two factors, as n may be beyond the exponents that there are.
  const Int power = (Int)(Lane::bits_of(shifted) - Lane::bits_of(none + Layout::shift));
  const Int half = power >> 1;
  const Real first = Lane::real_of((Word)(half + Layout::bias) << Layout::mantissa);
  const Real second = Lane::real_of((Word)(power - half + Layout::bias) << Layout::mantissa);
  const Real scale = first * second;
  const Real value = (q * first + first) * second;
  const Real minus_one = q * scale + (scale - static_cast<Scalar>(1));
  return {value, Lane::select(x > static_cast<Scalar>(40), value, minus_one)};
}

template <class Scalar>
struct NormalTail;

// (1 + 2 x) exp(x^2) erfc(x) as a polynomial in t = (x - center) / (x + center): the form of Shepherd and Laframboise
// (Mathematics of Computation 36, 1981), with Chebyshev interpolants of our own; relative errors 7e-10 and 1e-16.
template <>
struct NormalTail<float> {
  static constexpr float center = 2.75f;
  template <class Real>
  static XAI_FAST_HD Real of(Real t) {
    return horner<float>(t, 1.2588036253, -0.13046248025, -0.071306155033, 0.14490624466, -0.11449402861,
                         0.052320334093, -0.01049519785, -0.0026247747951, 0.0019180539717, 4.3977444946e-5,
                         -0.00026327866058, 6.2826754896e-6, 2.6564977604e-5);
  }
};

template <>
struct NormalTail<double> {
  static constexpr double center = 3.75;
  template <class Real>
  static XAI_FAST_HD Real of(Real t) {
    return horner<double>(t, 1.23751263083782753, -0.140240598585545256, 0.00358541548547902564, 0.0822767384899950626,
                          -0.108803930142444613, 0.0923043211642812499, -0.0586933985766493384, 0.0283622773721111388,
                          -0.00974657968326526223, 0.00175562616519706507, 0.00029371437804495803,
                          -0.000290155352460776553, 0.0000516465297417741613, 0.0000223875657149118166,
                          -0.0000114380480333468936, -9.79262570730352203e-7, 1.74198215862248159e-6,
                          -5.0844653786873022e-8, -2.48571262480167429e-7, 1.87908232237004813e-8,
                          3.19792667166680429e-8, -1.95513588689856165e-9, -2.62310734713347576e-9);
  }
};

// exp(x^2) erfc(x) for 0 <= x < infinity.
template <class Scalar, class Real>
XAI_FAST_HD Real scaled_tail(Real x) {
  using Tail = NormalTail<Scalar>;
  const Real t = (x - Tail::center) / (x + Tail::center);
  return Tail::of(t) / (x + x + static_cast<Scalar>(1));
}

}  // namespace xai_fast

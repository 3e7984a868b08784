// Box-Muller from one random word: its upper half is the uniform of the radius, its lower half that of the angle, each
// (half + 1/2) / 2^16. Relatively accurate in every value, also where the uniform of the radius is near 1 and where a
// cosine or sine is near 0: the ranges are reduced without any rounding.
//
// One text for scalars, SIMD lanes and GPU threads: a Lane has
//   Scalar                   float or double;
//   Real, Word, Int          the same, and unsigned and signed integers of its width; or vectors of them;
//   convert(Int)             the real number of that value;
//   real_of(Word), bits_of(Real), square_root(Real).
// Random words are in the low 32 bits of a Word; what is above them is not read.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

// c0 + x (c1 + x (c2 + ...))
template <class Real, class Scalar>
XAI_FAST_HD Real polynomial(Real, Scalar last) {
  return Real{} + last;
}
template <class Real, class Scalar, class... Rest>
XAI_FAST_HD Real polynomial(Real x, Scalar first, Rest... rest) {
  return polynomial(x, rest...) * x + first;
}

// Minimax polynomials (Remez, relative error) and the layout of the floating point type.
template <class Scalar>
struct Arithmetic;

template <>
struct Arithmetic<float> {
  static constexpr int bits = 32, mantissa = 23;
  static constexpr uint32_t sqrt_half = 0x3f3504f3;  // the bits of sqrt(1/2)

  // sin(pi/2 r) / r and cos(pi/2 r) / q as functions of q = 1 - r^2, 0 < q < 1; errors 5e-9 and 1e-9.
  template <class Real>
  static XAI_FAST_HD Real sine_over_r(Real q) {
    return polynomial(q, 1.00000000531f, 0.499999712023f, 0.0665772898826f, 0.0040678260981f, 0.000151485130661f);
  }
  template <class Real>
  static XAI_FAST_HD Real cosine_over_q(Real q) {
    return polynomial(q, 0.785398164168f, 0.196349500674f, 0.0174295881991f, 0.000799157991285f, 2.35879853038e-5f);
  }
  // -2 ln(1 + t), sqrt(1/2) <= 1 + t < sqrt(2); error 1.7e-7, of which the root makes half.
  template <class Real>
  static XAI_FAST_HD Real minus_two_log_one_plus(Real t) {
    return t * polynomial(t, -1.99999989065f, 1.00000730259f, -0.666701176939f, 0.499398177824f, -0.398003319222f,
                          0.345016587068f, -0.324451736729f, 0.202138335732f);
  }
};

template <>
struct Arithmetic<double> {
  static constexpr int bits = 64, mantissa = 52;
  static constexpr uint64_t sqrt_half = 0x3fe6a09e667f3bcd;

  // As above; errors 3e-19 and 3e-20.
  template <class Real>
  static XAI_FAST_HD Real sine_over_r(Real q) {
    return polynomial(q, 1.0, 0.499999999999999956, 0.0665748624659587553, 0.00407486246594470461,
                      0.000143277805718433453, 3.27102323624281134e-6, 5.2406700631425795e-8, 6.21467283564238442e-10,
                      5.87061112257903531e-12);
  }
  template <class Real>
  static XAI_FAST_HD Real cosine_over_q(Real q) {
    return polynomial(q, 0.78539816339744831, 0.196349540849362074, 0.0174292582364003586, 0.000800097374214003025,
                      0.0000225060250882577556, 4.28175950396988745e-7, 5.88000694388582289e-9, 6.10189077619416469e-11,
                      5.10748662685791306e-13);
  }
  // -4 artanh(s) with s = t / (2 + t); error 1e-18.
  template <class Real>
  static XAI_FAST_HD Real minus_two_log_one_plus(Real t) {
    const Real s = t / (t + 2.0);
    const Real s2 = s * s;
    const Real rest =
        polynomial(s2, 0.666666666666673415, 0.399999999994163826, 0.285714287420140373, 0.222221986108802261,
                   0.181835624018731282, 0.153140988892094168, 0.147954748302206529);
    return (s * s2 * rest + 2.0 * s) * -2.0;
  }
};

// 2^17 u with u = ((word >> 16) + 1/2) / 2^16, the uniform of the radius: an odd integer.
template <class Lane>
XAI_FAST_HD typename Lane::Real uniform_of_radius(typename Lane::Word word) {
  return Lane::convert((typename Lane::Int)(((word >> 15) & 0x1ffff) | 1));
}

// -2 ln(x / 2^(17 factors)) of a positive x: for the uniform of a radius the square of that radius, for a product of
// such uniforms the sum of the squares.
template <class Lane, int factors = 1>
XAI_FAST_HD typename Lane::Real minus_two_log(typename Lane::Real x) {
  using Float = Arithmetic<typename Lane::Scalar>;
  using Scalar = typename Lane::Scalar;
  using Word = typename Lane::Word;
  using Int = typename Lane::Int;
  using Real = typename Lane::Real;
  constexpr auto one = static_cast<decltype(Float::sqrt_half)>(1) << Float::mantissa;  // of the exponent
  // x / 2^(17 factors) = 2^e (1 + t) with sqrt(1/2) <= 1 + t < sqrt(2)
  const Word shifted = Lane::bits_of(x) - (Float::sqrt_half + 17 * factors * one);
  const Real e = Lane::convert((Int)shifted >> Float::mantissa);
  const Real t = Lane::real_of((shifted & (one - 1)) + Float::sqrt_half) - static_cast<Scalar>(1);
  return Float::minus_two_log_one_plus(t) + e * static_cast<Scalar>(-1.38629436111989062);
}

// radius cos(2 pi v) and radius sin(2 pi v) with v = ((word mod 2^16) + 1/2) / 2^16.
template <class Lane>
XAI_FAST_HD void polar(typename Lane::Real radius, typename Lane::Word word, typename Lane::Real& x,
                       typename Lane::Real& y) {
  using Float = Arithmetic<typename Lane::Scalar>;
  using Scalar = typename Lane::Scalar;
  using Word = typename Lane::Word;
  using Real = typename Lane::Real;
  constexpr auto one = static_cast<decltype(Float::sqrt_half)>(1);
  // 2 v = h + f, h = 0 or 1 the half of the circle: with r = 1 - 2 f, 2 pi v = pi h + pi/2 - pi/2 r, so that the cosine
  // is sin(pi/2 r) and the sine cos(pi/2 r), both negative where h is 1. The mantissa of the number from 2 to 4 is f.
  constexpr auto mask = (one << Float::mantissa) - (one << (Float::mantissa - 15));
  constexpr auto two = (one << (Float::bits - 2)) | (one << (Float::mantissa - 16));
  const Real two_and_2f = Lane::real_of(((word << (Float::mantissa - 15)) & mask) | two);
  const Real r = static_cast<Scalar>(3) - two_and_2f;
  const Real q = (two_and_2f - static_cast<Scalar>(2)) * (static_cast<Scalar>(4) - two_and_2f);  // 1 - r^2
  const Word half = (word << (Float::bits - 16)) & (one << (Float::bits - 1));
  const Real turned = Lane::real_of(Lane::bits_of(radius) ^ half);
  x = turned * r * Float::sine_over_r(q);
  y = turned * q * Float::cosine_over_q(q);
}

// The two standard normals of a random word.
template <class Lane>
XAI_FAST_HD void box_muller(typename Lane::Word word, typename Lane::Real& x, typename Lane::Real& y) {
  polar<Lane>(Lane::square_root(minus_two_log<Lane>(uniform_of_radius<Lane>(word))), word, x, y);
}

}  // namespace xai_fast

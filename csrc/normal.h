// Box-Muller from two random words, relatively accurate in every value, also where u is near 1 and where a cosine or
// sine is near 0: both uniforms are odd multiples of 2^-24, so that their ranges are reduced without any rounding.
//
// One text for scalars, SIMD lanes and GPU threads: a Lane has
//   Scalar                   float or double;
//   Real, Word, Int          the same, and unsigned and signed integers of its width; or vectors of them;
//   convert(Int)             the real number of that value;
//   real_of(Word), bits_of(Real), square_root(Real), select(condition, Real, Real).
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

// Near-minimax polynomials (Remez, relative error) and the layout of the floating point type.
template <class Scalar>
struct Arithmetic;

template <>
struct Arithmetic<float> {
  static constexpr int bits = 32, mantissa = 23;
  static constexpr uint32_t sqrt_half = 0x3f3504f3;  // the bits of sqrt(1/2)

  // sin(pi/2 r) / r and cos(pi/2 r) as functions of r^2, |r| <= 1/2; errors 3e-9 and 6e-11.
  template <class Real>
  static XAI_FAST_HD Real sine_over(Real r2) {
    return polynomial(r2, 1.57079632171f, -0.645963460233f, 0.0796800327704f, -0.00460165789118f);
  }
  template <class Real>
  static XAI_FAST_HD Real cosine(Real r2) {
    return polynomial(r2, 1.0f, -1.2337005426f, 0.253669225965f, -0.0208601651115f, 0.000903766543242f);
  }
  // log(1 + t), sqrt(1/2) <= 1 + t < sqrt(2); error 3e-8.
  template <class Real>
  static XAI_FAST_HD Real log_one_plus(Real t) {
    const Real t2 = t * t;
    const Real rest = polynomial(t, 0.333339107315f, -0.250013370575f, 0.19963064063f, -0.165775840391f,
                                 0.149147642689f, -0.142674914614f, 0.0870045280317f);
    return t2 * (t * rest - 0.5f) + t;
  }
};

template <>
struct Arithmetic<double> {
  static constexpr int bits = 64, mantissa = 52;
  static constexpr uint64_t sqrt_half = 0x3fe6a09e667f3bcd;

  // As above; errors 2e-21 and 4e-20.
  template <class Real>
  static XAI_FAST_HD Real sine_over(Real r2) {
    return polynomial(r2, 1.57079632679489662, -0.645964097506246252, 0.0796926262461669208, -0.00468175413531473929,
                      0.000160441184725671743, -3.59884271128786732e-6, 5.69192614976881479e-8,
                      -6.62743087311060652e-10);
  }
  template <class Real>
  static XAI_FAST_HD Real cosine(Real r2) {
    return polynomial(r2, 1.0, -1.23370055013616982, 0.253669507901046815, -0.0208634807633125688,
                      0.000919260274191065768, -2.52020367882839696e-5, 4.7106096692307377e-7, -6.32120205624497771e-9);
  }
  // 2 artanh(s) with s = t / (2 + t); error 1e-18.
  template <class Real>
  static XAI_FAST_HD Real log_one_plus(Real t) {
    const Real s = t / (t + 2.0);
    const Real s2 = s * s;
    const Real rest =
        polynomial(s2, 0.666666666666673415, 0.399999999994163826, 0.285714287420140373, 0.222221986108802261,
                   0.181835624018731282, 0.153140988892094168, 0.147954748302206529);
    return s * s2 * rest + 2.0 * s;
  }
};

// sqrt(-2 ln u) with u = ((word >> 9) + 1/2) / 2^23 = j / 2^24, j odd.
template <class Lane>
XAI_FAST_HD typename Lane::Real rayleigh(typename Lane::Word word) {
  using Float = Arithmetic<typename Lane::Scalar>;
  using Scalar = typename Lane::Scalar;
  using Word = typename Lane::Word;
  using Int = typename Lane::Int;
  using Real = typename Lane::Real;
  constexpr auto one = static_cast<decltype(Float::sqrt_half)>(1) << Float::mantissa;  // of the exponent
  const Word j = ((word >> 8) & 0xffffff) | 1;
  // u = 2^e (1 + t) with sqrt(1/2) <= 1 + t < sqrt(2)
  const Word shifted = Lane::bits_of(Lane::convert((Int)j)) - (Float::sqrt_half + 24 * one);
  const Real e = Lane::convert((Int)shifted >> Float::mantissa);
  const Real t = Lane::real_of((shifted & (one - 1)) + Float::sqrt_half) - static_cast<Scalar>(1);
  const Real log_u = e * static_cast<Scalar>(0.693147180559945309) + Float::log_one_plus(t);
  return Lane::square_root(log_u * static_cast<Scalar>(-2));
}

// radius cos(2 pi v) and radius sin(2 pi v) with v = ((word >> 9) + 1/2) / 2^23.
template <class Lane>
XAI_FAST_HD void polar(typename Lane::Real radius, typename Lane::Word word, typename Lane::Real& x,
                       typename Lane::Real& y) {
  using Float = Arithmetic<typename Lane::Scalar>;
  using Scalar = typename Lane::Scalar;
  using Word = typename Lane::Word;
  using Real = typename Lane::Real;
  constexpr auto half_turn = static_cast<decltype(Float::sqrt_half)>(1) << (Float::bits - 1);
  // v as a fraction of all the bits: the upper two are the quarter of the circle, the others, as a signed number, are
  // what rounding to the nearest quarter leaves: 4 v = quarter + rest, |rest| < 1/2, and rest is exact and never 0.
  const Word v = ((word & 0xfffffe00u) | 0x100) << (Float::bits - 32);
  const Word quarter = v + half_turn / 4;
  const Real rest = Lane::convert((typename Lane::Int)(v << 2) >> (Float::bits - 32)) * static_cast<Scalar>(0x1p-32);
  const Real rest2 = rest * rest;
  const Real sine = Float::sine_over(rest2) * rest * radius;
  const Real cosine = Float::cosine(rest2) * radius;
  const auto odd = (quarter & (half_turn / 2)) != 0;
  x = Lane::real_of(Lane::bits_of(Lane::select(odd, sine, cosine)) ^ ((quarter + half_turn / 2) & half_turn));
  y = Lane::real_of(Lane::bits_of(Lane::select(odd, cosine, sine)) ^ (quarter & half_turn));
}

// The two standard normals of a pair of random words.
template <class Lane>
XAI_FAST_HD void box_muller(typename Lane::Word first, typename Lane::Word second, typename Lane::Real& x,
                            typename Lane::Real& y) {
  polar<Lane>(rayleigh<Lane>(first), second, x, y);
}

}  // namespace xai_fast

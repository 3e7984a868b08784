// Elementwise functions and their derivatives up to order six: the formulas of
// xai_fast/kernels/partition_sum/activations.py, where they are explained, for scalars, SIMD lanes and GPU threads.
//
// A Lane is what exponential.h asks for, and has square_root(Real) and each(Real, f): f of every number in it.
#pragma once

#include <cmath>

#include "exponential.h"

namespace xai_fast {

constexpr int max_order = 6;

enum class Activation {
  exp,
  expm1,
  log,
  log1p,
  sqrt,
  rsqrt,
  reciprocal,
  pow,
  tanh,
  sigmoid,
  log_sigmoid,
  softplus,
  gelu,
  gelu_tanh,
  silu,
  mish,
  elu,
  hardswish,
  sin,
  cos,
  erf
};

// s[k] = s^(k)(z) for k from 0 to `orders`; where `first` > 0, those below it may be left out if they are expensive.
template <class Lane>
struct Derivatives {
  using Real = typename Lane::Real;
  using Scalar = typename Lane::Scalar;
  int first, orders;
  Real* s;

  static constexpr Scalar saturated = 800, normal_tail = 40;
  static XAI_FAST_HD Real all(double value) { return Real{} + static_cast<Scalar>(value); }
  static XAI_FAST_HD Scalar one(double value) { return static_cast<Scalar>(value); }
  static XAI_FAST_HD Real magnitude(Real z) { return Lane::select(z < 0, -z, z); }
  static XAI_FAST_HD Real bounded(Real z, Scalar bound) {
    z = Lane::select(z < -bound, Real{} - bound, z);
    return Lane::select(z > bound, Real{} + bound, z);
  }
  XAI_FAST_HD void put(int k, Real value) const {
    if (k <= orders && k <= max_order) s[k] = value;  // the second, so that the compiler sees it
  }

  // --- Powers, exponentials and circular functions ---
  XAI_FAST_HD void exp(Real z) const {
    const Real value = exponential<Lane>(z).value;
    for (int k = 0; k <= orders; ++k) s[k] = value;
  }
  XAI_FAST_HD void expm1(Real z) const {
    const auto e = exponential<Lane>(z);
    for (int k = 1; k <= orders; ++k) s[k] = e.value;
    s[0] = e.minus_one;
  }
  // The derivatives of log at w, without its value.
  XAI_FAST_HD void slopes_of_log(Real w) const {
    const Real inverse = all(1) / w;
    Real power = inverse;
    for (int k = 1; k <= orders; ++k, power = power * inverse * one(1 - k)) s[k] = power;
  }
  XAI_FAST_HD void log(Real z) const {
    slopes_of_log(z);
    if (first == 0) s[0] = Lane::each(z, [](Scalar x) { return std::log(x); });
  }
  XAI_FAST_HD void log1p(Real z) const {
    slopes_of_log(z + one(1));
    if (first == 0) s[0] = Lane::each(z, [](Scalar x) { return std::log1p(x); });
  }
  static XAI_FAST_HD Real integer_power(Real z, int n) {
    Real power = all(1);
    for (int left = n < 0 ? -n : n; left; left >>= 1, z = z * z) {
      if (left & 1) power = power * z;
    }
    return n < 0 ? all(1) / power : power;
  }
  // NaN where z is negative, and no negative zero.
  static XAI_FAST_HD Real from_zero(Real z) { return Lane::select(z < 0, all(NAN), z + one(0)); }
  static XAI_FAST_HD Real real_power(Real z, double exponent) {
    if (exponent == std::floor(exponent) && std::fabs(exponent) <= 64) {
      return integer_power(z, static_cast<int>(exponent));
    }
    return Lane::each(from_zero(z), [=](Scalar x) { return std::pow(x, static_cast<Scalar>(exponent)); });
  }
  XAI_FAST_HD void pow(Real z, double exponent) const {
    double falling = 1;
    for (int k = 0; k <= orders; falling *= exponent - k++) {
      if (falling == 0) {
        s[k] = Real{};
      } else if (k >= first) {
        s[k] = real_power(z, exponent - k) * one(falling);
      }
    }
  }
  XAI_FAST_HD void sqrt(Real z) const {
    z = from_zero(z);
    const Real inverse = all(1) / z, root = Lane::square_root(z);
    Real power = all(0.5) / root;
    s[0] = root;
    for (int k = 1; k <= orders; ++k, power = power * inverse * one(1.5 - k)) s[k] = power;
  }
  XAI_FAST_HD void rsqrt(Real z) const {
    z = from_zero(z);
    const Real inverse = all(1) / z;
    Real power = all(1) / Lane::square_root(z);
    for (int k = 0; k <= orders; ++k, power = power * inverse * one(0.5 - k)) s[k] = power;
  }
  XAI_FAST_HD void sin_from(Real z, int turn) const {
    const Real sine = Lane::each(z, [](Scalar x) { return std::sin(x); });
    const Real cosine = Lane::each(z, [](Scalar x) { return std::cos(x); });
    for (int k = 0; k <= orders; ++k) {
      const Real value = (k + turn) & 1 ? cosine : sine;
      s[k] = (k + turn) & 2 ? -value : value;
    }
  }

  // --- Logistic functions ---
  struct Logistic {
    Real e, minus, p, v, d;  // exp(-|z|), e - 1, p = sigmoid(z), v = p (1 - p), d = 1 - 2 p
  };
  static XAI_FAST_HD Logistic logistic(Real z) {
    const auto e = exponential<Lane>(-magnitude(z));
    const Real inverse = all(1) / (e.value + one(1));
    const Real t = e.minus_one * inverse;
    return {e.value, e.minus_one, Lane::select(z < 0, e.value * inverse, inverse), e.value * inverse * inverse,
            Lane::select(z < 0, -t, t)};
  }
  // Derivative k of the logistic function goes to s[k + offset], times scale^k.
  XAI_FAST_HD void put_logistic(const Logistic& at, int offset, double scale) const {
    const Real v = at.v, d = at.d;
    double power = scale;
    put(offset, at.p);
    const auto next = [&](int k, Real value) {
      put(k + offset, value * one(power));
      power *= scale;
    };
    next(1, v);
    next(2, v * d);
    next(3, v * horner<Scalar>(v, 1, -6));
    next(4, v * d * horner<Scalar>(v, 1, -12));
    next(5, v * horner<Scalar>(v, 1, -30, 120));
    next(6, v * d * horner<Scalar>(v, 1, -60, 360));
  }
  XAI_FAST_HD void sigmoid(Real z) const { put_logistic(logistic(z), 0, 1); }
  XAI_FAST_HD void tanh(Real z) const {
    const Logistic at = logistic(z + z);
    put_logistic(at, 0, 2);
    for (int k = 1; k <= orders; ++k) s[k] = s[k] + s[k];
    s[0] = -at.d;
  }
  static XAI_FAST_HD Real log_one_plus(const Logistic& at) {  // log(1 + exp(-|z|))
    return Lane::each(at.e, [](Scalar x) { return std::log1p(x); });
  }
  XAI_FAST_HD void softplus(Real z, double beta, double threshold) const {
    const Real x = z * one(beta);
    const auto linear = x > one(threshold);
    const Logistic at = logistic(x);
    put_logistic(at, 1, beta);
    for (int k = 1; k <= orders; ++k) s[k] = Lane::select(linear, all(k == 1), s[k]);
    if (first == 0) {
      const Real value = (log_one_plus(at) + Lane::select(x < 0, Real{}, x)) * one(1 / beta);
      s[0] = Lane::select(linear, z, value);
    }
  }
  XAI_FAST_HD void log_sigmoid(Real z) const {
    const Logistic at = logistic(-z);
    put_logistic(at, 1, -1);
    if (first == 0) s[0] = Lane::select(z < 0, z, Real{}) - log_one_plus(at);
  }
  // s holds f on entry, z f on return; `inner` is z, or a bound beyond which the derivatives of f are zero.
  XAI_FAST_HD void times_z(Real z, Real inner) const {
    for (int k = orders; k > 0; --k) s[k] = inner * s[k] + s[k - 1] * one(k);
    s[0] = s[0] * z;
  }
  XAI_FAST_HD void silu(Real z) const {
    sigmoid(z);
    times_z(z, bounded(z, saturated));
  }
  // The Taylor coefficients of f to its derivatives.
  XAI_FAST_HD void times_factorials() const {
    Scalar factorial = 1;
    for (int k = 1; k <= orders; ++k) {
      factorial *= k;
      s[k] = s[k] * factorial;
    }
  }
  // The series of p with p' = w x' and w = w_0 + d p - p^2 (without the terms of p_0), s[0] on entry its value.
  XAI_FAST_HD void compose(const Real* slopes, Real w0, Real d, Scalar square) const {
    Real w[max_order + 1];
    w[0] = w0;
    for (int k = 1; k <= orders; ++k) {
      Real total{};
      for (int j = 1; j <= k; ++j) total = total + slopes[j] * w[k - j];
      s[k] = total * one(1.0 / k);
      Real squares{};
      for (int i = 1; i < k; ++i) squares = squares + s[i] * s[k - i];
      w[k] = s[k] * d - squares * square;
    }
  }
  XAI_FAST_HD void mish(Real z) const {
    const Logistic at = logistic(z);
    Real slopes[max_order + 2];
    Derivatives{0, orders, slopes}.put_logistic(at, 1, 1);  // of softplus
    Scalar factorial = 1;
    for (int k = 1; k <= orders; ++k) {
      slopes[k] = slopes[k] * (1 / factorial);
      factorial *= k;
    }
    const Real e = at.e, n = Lane::select(z < 0, e * (e + one(2)), e + e + one(1));
    const Real rest = Lane::select(z < 0, all(2), e * e * one(2)), inverse = all(1) / (n + rest);
    s[0] = n * inverse;  // tanh(softplus(z))
    compose(slopes, rest * inverse * (s[0] + one(1)), s[0] * one(-2), 1);
    times_factorials();
    times_z(z, bounded(z, saturated));
  }
  XAI_FAST_HD void gelu_tanh(Real z) const {
    const Scalar c = one(1.59576912160573071), cubic = one(0.044715);  // 2 sqrt(2 / pi)
    const Real inner = bounded(z, normal_tail), square = inner * inner;
    const Real slopes[max_order + 1] = {Real{}, horner<Scalar>(square, 1, 3 * 0.044715) * c, inner * (6 * c * cubic),
                                        Real{} + 3 * c * cubic};  // j times the j-th coefficient
    const Logistic at = logistic(horner<Scalar>(square, 1, 0.044715) * inner * c);
    s[0] = at.p;
    compose(slopes, at.v, at.d, 1);
    times_factorials();
    times_z(z, inner);
  }

  // --- The normal distribution ---
  XAI_FAST_HD void gelu(Real z) const {
    const Real w = bounded(z, normal_tail), x = w * w;
    const Real bell = exponential<Lane>(x * one(-0.5)).value, density = bell * one(0.398942280401432678);
    const Real tail = bell * one(0.5) * scaled_tail<Scalar>(magnitude(w) * one(0.707106781186547524));
    const Real below = Lane::select(z < 0, tail, all(1) - tail);
    put(0, z * below);
    put(1, w * density + below);
    put(2, density * (all(2) - x));
    put(3, density * w * (x - one(4)));
    put(4, density * horner<Scalar>(x, -4, 7, -1));
    put(5, density * w * horner<Scalar>(x, 18, -11, 1));
    put(6, density * horner<Scalar>(x, 18, -51, 16, -1));
  }
  XAI_FAST_HD void erf(Real z) const {
    const Real w = bounded(z, normal_tail), x = w * w;
    const Real bell = exponential<Lane>(-x).value * one(1.12837916709551257);
    if (first == 0) s[0] = Lane::each(z, [](Scalar value) { return std::erf(value); });
    put(1, bell);
    put(2, bell * w * one(-2));
    put(3, bell * horner<Scalar>(x, -2, 4));
    put(4, bell * w * horner<Scalar>(x, 12, -8));
    put(5, bell * horner<Scalar>(x, 12, -48, 16));
    put(6, bell * w * horner<Scalar>(x, -120, 160, -32));
  }

  // --- Piecewise functions ---
  XAI_FAST_HD void elu(Real z, double alpha, double scale, double input_scale) const {
    const auto linear = z > 0;
    const auto e = exponential<Lane>(Lane::select(linear, Real{}, z) * one(input_scale));
    double factor = alpha * scale;
    s[0] = Lane::select(linear, z * one(scale), e.minus_one * one(factor));
    for (int k = 1; k <= orders; ++k) {
      factor *= input_scale;
      s[k] = Lane::select(linear, all(k == 1 ? scale : 0), e.value * one(factor));
    }
  }
  XAI_FAST_HD void hardswish(Real z) const {
    const auto below = z <= -3, above = z >= 3;
    const Real inner = bounded(z, 3);
    const auto pick = [&](Real inside, Real line) {
      return Lane::select(below, Real{}, Lane::select(above, line, inside));
    };
    put(0, pick(inner * (inner + one(3)) * one(1.0 / 6), z));
    put(1, pick(inner * one(1.0 / 3) + one(0.5), all(1)));
    put(2, pick(inner * 0 + one(1.0 / 3), Real{}));
    for (int k = 3; k <= orders; ++k) s[k] = Real{};
  }

  template <Activation which>
  XAI_FAST_HD void of(Real z, const double* parameters) const {
    // clang-format off
    if constexpr (which == Activation::exp) exp(z);
    else if constexpr (which == Activation::expm1) expm1(z);
    else if constexpr (which == Activation::log) log(z);
    else if constexpr (which == Activation::log1p) log1p(z);
    else if constexpr (which == Activation::sqrt) sqrt(z);
    else if constexpr (which == Activation::rsqrt) rsqrt(z);
    else if constexpr (which == Activation::reciprocal) pow(z, -1);
    else if constexpr (which == Activation::pow) pow(z, parameters[0]);
    else if constexpr (which == Activation::tanh) tanh(z);
    else if constexpr (which == Activation::sigmoid) sigmoid(z);
    else if constexpr (which == Activation::log_sigmoid) log_sigmoid(z);
    else if constexpr (which == Activation::softplus) softplus(z, parameters[0], parameters[1]);
    else if constexpr (which == Activation::gelu) gelu(z);
    else if constexpr (which == Activation::gelu_tanh) gelu_tanh(z);
    else if constexpr (which == Activation::silu) silu(z);
    else if constexpr (which == Activation::mish) mish(z);
    else if constexpr (which == Activation::elu) elu(z, parameters[0], parameters[1], parameters[2]);
    else if constexpr (which == Activation::hardswish) hardswish(z);
    else if constexpr (which == Activation::sin) sin_from(z, 0);
    else if constexpr (which == Activation::cos) sin_from(z, 1);
    else erf(z);
    // clang-format on
  }
};

}  // namespace xai_fast

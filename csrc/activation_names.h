// The activations by the names that Python gives them, in the order of the enumeration.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "activations.h"

namespace xai_fast {

inline Activation activation_of(const std::string& name) {
  static const char* const names[] = {"exp",  "expm1", "log",     "log1p",       "sqrt",     "rsqrt", "reciprocal",
                                      "pow",  "tanh",  "sigmoid", "log_sigmoid", "softplus", "gelu",  "gelu_tanh",
                                      "silu", "mish",  "elu",     "hardswish",   "sin",      "cos",   "erf"};
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found == std::end(names)) throw std::invalid_argument("activation: expected a known name, got " + name);
  return static_cast<Activation>(found - std::begin(names));
}

}  // namespace xai_fast

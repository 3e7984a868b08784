// Elements of tensors as numbers to calculate with.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace xai_fast {

struct BFloat16 {
  uint16_t bits;
};

XAI_FAST_HD float number(float value) { return value; }
XAI_FAST_HD double number(double value) { return value; }
XAI_FAST_HD float number(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace xai_fast

// What all kernels take: the element type, and the rows that are to be worked on, checked.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace xai_fast {

enum class Dtype { float32, float64, bfloat16 };

inline Dtype dtype_of(const std::string& name) {
  if (name == "float32") return Dtype::float32;
  if (name == "float64") return Dtype::float64;
  if (name == "bfloat16") return Dtype::bfloat16;
  throw std::invalid_argument("dtype: expected float32, float64 or bfloat16, got " + name);
}

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// The rows whose flag is set, in order. Only these rows' items are read; each has to be in 0..items-1.
inline std::vector<int64_t> flagged_rows(uintptr_t flags, uintptr_t item, int64_t rows, int64_t items) {
  std::vector<int64_t> flagged;
  flagged.reserve(rows);
  for (int64_t row = 0; row < rows; ++row) {
    if (!pointer<const bool>(flags)[row]) continue;
    const int64_t index = pointer<const int64_t>(item)[row];
    if (index < 0 || index >= items) {
      throw std::out_of_range("item: expected an index from 0 to " + std::to_string(items - 1) + ", got " +
                              std::to_string(index) + " in row " + std::to_string(row));
    }
    flagged.push_back(row);
  }
  return flagged;
}

}  // namespace xai_fast

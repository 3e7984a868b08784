// What bindings ask of the indices of tuple_sum.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace xai_fast {

// Columns of small subsets come first; those that have an adjoint may only name rows that have one.
inline void check_members(const int32_t* members, int64_t tuples, int64_t columns, int64_t with_adjoint, int64_t rows,
                          int64_t adjoint_rows) {
  for (int64_t t = 0; t < tuples; ++t) {
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t row = members[t * columns + column];
      const int64_t end = column < with_adjoint && adjoint_rows < rows ? adjoint_rows : rows;
      if (row >= 0 && row < end) continue;
      throw std::out_of_range("members: expected an index from 0 to " + std::to_string(end - 1) + ", got " +
                              std::to_string(row) + " in tuple " + std::to_string(t) + ", column " +
                              std::to_string(column));
    }
  }
}

}  // namespace xai_fast

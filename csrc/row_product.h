// Products of a few rows with a matrix, for networks' layers: an entry is summed in the order of the units, whatever
// the rows beside it, so that no row's result depends on how many others there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "simd.h"

namespace xai_fast {
namespace XAI_FAST_ISA {

// A matrix (inner, columns), and its last columns, those that fill no vector, once more in whole vectors.
template <class Scalar>
struct RowMatrix {
  const Scalar* entries;
  const Scalar* rest;
  int64_t inner, columns;
};

constexpr int64_t most_tile_rows = 6;

// c[r][n] = the sum over k of y[r][k] * w[k][n], for `height` rows and `vectors` vectors of columns, of which `columns`
// columns are written.
template <class Vector, int height, int vectors, class Scalar>
void multiply_tile(const Scalar* y, int64_t y_stride, const Scalar* w, int64_t inner, int64_t w_stride, Scalar* c,
                   int64_t c_stride, int64_t columns) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  Vector total[height][vectors] = {};
  for (int64_t k = 0; k < inner; ++k) {
    Vector b[vectors];
    for (int v = 0; v < vectors; ++v) b[v] = load<Vector>(w + k * w_stride + v * lanes);
    for (int r = 0; r < height; ++r) {
      for (int v = 0; v < vectors; ++v) total[r][v] += y[r * y_stride + k] * b[v];
    }
  }
  for (int r = 0; r < height; ++r) {
    if (columns == vectors * lanes) {
      for (int v = 0; v < vectors; ++v) store(c + r * c_stride + v * lanes, total[r][v]);
    } else {
      std::memcpy(c + r * c_stride, total[r], columns * sizeof(Scalar));
    }
  }
}

template <class Vector, int vectors, class Scalar>
void multiply_columns(const Scalar* y, int64_t y_stride, int64_t rows, const Scalar* w, int64_t inner, int64_t w_stride,
                      Scalar* c, int64_t c_stride, int64_t columns) {
  const auto by = [&](auto height, int64_t row) {
    multiply_tile<Vector, decltype(height)::value, vectors>(y + row * y_stride, y_stride, w, inner, w_stride,
                                                            c + row * c_stride, c_stride, columns);
  };
  const int64_t tiles = (rows + most_tile_rows - 1) / most_tile_rows;
  int64_t row = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {  // as even as can be: low tiles wait for the matrix
    const int64_t end = rows * (tile + 1) / tiles;
    switch (end - row) {
      case 1:
        by(std::integral_constant<int, 1>(), row);
        break;
      case 2:
        by(std::integral_constant<int, 2>(), row);
        break;
      case 3:
        by(std::integral_constant<int, 3>(), row);
        break;
      case 4:
        by(std::integral_constant<int, 4>(), row);
        break;
      case 5:
        by(std::integral_constant<int, 5>(), row);
        break;
      default:
        by(std::integral_constant<int, 6>(), row);
    }
    row = end;
  }
}

// c[r] = y[r] w for `rows` rows.
template <class Vector, class Scalar>
void multiply_rows(const Scalar* y, int64_t y_stride, int64_t rows, const RowMatrix<Scalar>& w, Scalar* c,
                   int64_t c_stride) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  const int64_t whole = w.columns / lanes * lanes;
  int64_t column = 0;
  const auto by = [&](auto count) {
    constexpr int vectors = decltype(count)::value;
    multiply_columns<Vector, vectors>(y, y_stride, rows, w.entries + column, w.inner, w.columns, c + column, c_stride,
                                      vectors * lanes);
    column += vectors * lanes;
  };
  while (whole - column >= 4 * lanes) by(std::integral_constant<int, 4>());
  while (whole - column >= 2 * lanes) by(std::integral_constant<int, 2>());
  if (whole - column >= lanes) by(std::integral_constant<int, 1>());
  if (column < w.columns) {
    multiply_columns<Vector, 1>(y, y_stride, rows, w.rest, w.inner, lanes, c + column, c_stride, w.columns - column);
  }
}

// The matrices of the layers of a network, one after the other, and their rests.
template <class Vector, class Scalar>
class RowMatrices {
 public:
  // shape(l) gives (inner, columns) of matrix l.
  template <class Shape>
  RowMatrices(const Scalar* entries, int64_t count, Shape shape) : matrices(new RowMatrix<Scalar>[count]) {
    constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
    int64_t inner = 0;
    for (int64_t l = 0; l < count; ++l) inner += shape(l).first;
    rests.reset(new Scalar[inner * lanes]());
    Scalar* rest = rests.get();
    for (int64_t l = 0; l < count; ++l) {
      const auto [rows, columns] = shape(l);
      matrices[l] = {entries, rest, rows, columns};
      const int64_t whole = columns / lanes * lanes;
      for (int64_t k = 0; k < rows; ++k) {
        std::copy_n(entries + k * columns + whole, columns - whole, rest + k * lanes);
      }
      entries += rows * columns;
      rest += rows * lanes;
    }
  }
  const RowMatrix<Scalar>& operator[](int64_t l) const { return matrices[l]; }

 private:
  std::unique_ptr<RowMatrix<Scalar>[]> matrices;
  std::unique_ptr<Scalar[]> rests;
};

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

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

// A matrix (inner, columns). One that has fewer columns than a vector is there once more in whole vectors.
template <class Scalar>
struct RowMatrix {
  const Scalar* entries;
  const Scalar* padded;
  int64_t inner, columns;
};

constexpr int64_t most_tile_rows = 6, most_tile_vectors = 4;

// Columns of a matrix in whole vectors, one after the other, but for the last one, which starts at `last` and may
// overlap the one before. Of a single vector only `written` columns are written.
template <class Scalar>
struct Columns {
  const Scalar* entries;
  int64_t inner, stride, last, written;
};

// c[r][n] = the sum over k of y[r][k] * w[k][n], for `height` rows and `vectors` vectors of columns.
template <class Vector, int height, int vectors, class Scalar>
void multiply_tile(const Scalar* y, int64_t y_stride, const Columns<Scalar>& w, Scalar* c, int64_t c_stride) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  const auto column = [&](int v) { return v + 1 < vectors ? v * lanes : w.last; };
  Vector total[height][vectors] = {};
  for (int64_t k = 0; k < w.inner; ++k) {
    Vector b[vectors];
    for (int v = 0; v < vectors; ++v) b[v] = load<Vector>(w.entries + k * w.stride + column(v));
    for (int r = 0; r < height; ++r) {
      for (int v = 0; v < vectors; ++v) total[r][v] += y[r * y_stride + k] * b[v];
    }
  }
  for (int r = 0; r < height; ++r) {
    if (w.written >= lanes) {
      for (int v = 0; v < vectors; ++v) store(c + r * c_stride + column(v), total[r][v]);
    } else {
      std::memcpy(c + r * c_stride, total[r], w.written * sizeof(Scalar));
    }
  }
}

template <class Vector, int vectors, class Scalar>
void multiply_columns(const Scalar* y, int64_t y_stride, int64_t rows, const Columns<Scalar>& w, Scalar* c,
                      int64_t c_stride) {
  const auto by = [&](auto height, int64_t row) {
    multiply_tile<Vector, decltype(height)::value, vectors>(y + row * y_stride, y_stride, w, c + row * c_stride,
                                                            c_stride);
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

// c[r] = y[r] w for `rows` rows. Where the columns fill no whole number of vectors, the last two vectors overlap: what
// is in both is the same sum, taken twice.
template <class Vector, class Scalar>
void multiply_rows(const Scalar* y, int64_t y_stride, int64_t rows, const RowMatrix<Scalar>& w, Scalar* c,
                   int64_t c_stride) {
  constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
  if (w.columns < lanes) {
    multiply_columns<Vector, 1>(y, y_stride, rows, Columns<Scalar>{w.padded, w.inner, lanes, 0, w.columns}, c,
                                c_stride);
    return;
  }
  const int64_t vectors = (w.columns + lanes - 1) / lanes,
                tiles = (vectors + most_tile_vectors - 1) / most_tile_vectors;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t from = vectors * tile / tiles, to = vectors * (tile + 1) / tiles, column = from * lanes;
    const Columns<Scalar> columns{w.entries + column, w.inner, w.columns,
                                  std::min(to * lanes, w.columns) - lanes - column, w.columns - column};
    switch (to - from) {
      case 1:
        multiply_columns<Vector, 1>(y, y_stride, rows, columns, c + column, c_stride);
        break;
      case 2:
        multiply_columns<Vector, 2>(y, y_stride, rows, columns, c + column, c_stride);
        break;
      case 3:
        multiply_columns<Vector, 3>(y, y_stride, rows, columns, c + column, c_stride);
        break;
      default:
        multiply_columns<Vector, 4>(y, y_stride, rows, columns, c + column, c_stride);
    }
  }
}

// The matrices of the layers of a network, one after the other.
template <class Vector, class Scalar>
class RowMatrices {
 public:
  // shape(l) gives (inner, columns) of matrix l.
  template <class Shape>
  RowMatrices(const Scalar* entries, int64_t count, Shape shape) : matrices(new RowMatrix<Scalar>[count]) {
    constexpr int64_t lanes = sizeof(Vector) / sizeof(Scalar);
    int64_t inner = 0;
    for (int64_t l = 0; l < count; ++l) inner += shape(l).second < lanes ? shape(l).first : 0;
    if (inner) all_padded.reset(new Scalar[inner * lanes]());
    Scalar* padded = all_padded.get();
    for (int64_t l = 0; l < count; ++l) {
      const auto [rows, columns] = shape(l);
      matrices[l] = {entries, padded, rows, columns};
      if (columns < lanes) {
        for (int64_t k = 0; k < rows; ++k) std::copy_n(entries + k * columns, columns, padded + k * lanes);
        padded += rows * lanes;
      }
      entries += rows * columns;
    }
  }
  const RowMatrix<Scalar>& operator[](int64_t l) const { return matrices[l]; }

 private:
  std::unique_ptr<RowMatrix<Scalar>[]> matrices;
  std::unique_ptr<Scalar[]> all_padded;
};

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

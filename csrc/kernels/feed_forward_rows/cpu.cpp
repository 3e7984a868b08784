// A task is a block of rows of one item. It goes through all layers, so that its rows stay in the cache; what it reads
// of smaller sets was written by the phase before. An entry of a product is summed in the order of the units.
#include "kernels/feed_forward_rows/feed_forward_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "row_product.h"
#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t block_rows = 24;
constexpr int64_t products_in_time_of_entry = 16;  // that is read from memory, and written

template <class Vector, class Scalar>
class Network {
 public:
  explicit Network(const FeedForwardRows& arguments)
      : a(arguments),
        forward(static_cast<const Scalar*>(a.transposed), a.layers - 1,
                [this](int64_t l) { return std::make_pair(a.widths[l], a.widths[l + 1]); }),
        backward(static_cast<const Scalar*>(a.weights), a.layers - 1,
                 [this](int64_t l) { return std::make_pair(a.widths[l + 1], a.widths[l]); }) {
    offsets.reset(new int64_t[a.layers + 1]());
    for (int64_t l = 0; l < a.layers; ++l) {
      offsets[l + 1] = offsets[l] + a.widths[l];
      widest = std::max(widest, a.widths[l]);
    }
    units = offsets[a.layers];
    work_of_row = units;
    for (int64_t l = 1; l < a.layers; ++l) work_of_row += a.widths[l] * a.widths[l - 1] / products_in_time_of_entry;
  }

  void run_all() const {
    const int64_t rows = a.singles + a.pair_count + a.triple_count + a.adjoint_count;
    const int threads = useful_threads(a.threads, a.items * rows * work_of_row);
    const bool whole_items_keep_all_busy = a.items % threads == 0 || a.items >= 4 * threads;
    if (!whole_items_keep_all_busy) {
      all_phases(false, [this](int64_t rows, auto work) { phase(rows, work); });
      return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      run(a.items * thread / threads, a.items * (thread + 1) / threads);
    }
  }

 private:
  const FeedForwardRows& a;
  int64_t units = 0, widest = 0, work_of_row = 0;
  std::unique_ptr<int64_t[]> offsets;
  RowMatrices<Vector, Scalar> forward, backward;  // of the layers behind the first

  Scalar* row_of(int64_t item, int64_t row) const {
    return static_cast<Scalar*>(a.rows) + (item * (a.singles + a.pair_count + a.triple_count) + row) * units;
  }
  Scalar* adjoint_of(int64_t item, int64_t row) const {
    return static_cast<Scalar*>(a.adjoints) + (item * a.adjoint_count + row) * units;
  }
  const Scalar* derivative(int64_t item, int64_t order) const {
    return static_cast<const Scalar*>(a.derivatives) + (item * a.derivative_count + order) * units;
  }

  // An item's rows stay in a cache.
  void run(int64_t from, int64_t to) const {
    const std::unique_ptr<Scalar[]> scratch(new Scalar[block_rows * widest]);
    for (int64_t item = from; item < to; ++item) {
      all_phases(true, [&](int64_t rows, auto work) {
        for (int64_t row = 0; row < rows; row += block_rows) {
          work(item, row, std::min(block_rows, rows - row), scratch.get());
        }
      });
    }
  }

  // phase(rows, work) for what has to be done in turn; work(item, first row, rows, scratch) does some rows of it. Where
  // the rows of a phase are done in order, those of no and of one direction are one phase backward.
  template <class Phase>
  void all_phases(bool in_order, Phase phase) const {
    const int64_t singles = a.singles, backward = a.adjoint_count > 1 ? 1 + singles : 1;
    phase(singles, [this](int64_t item, int64_t row, int64_t rows, Scalar* y) { forward_singles(item, row, rows, y); });
    phase(a.pair_count,
          [this](int64_t item, int64_t row, int64_t rows, Scalar* y) { forward_pairs(item, row, rows, y); });
    phase(a.triple_count,
          [this](int64_t item, int64_t row, int64_t rows, Scalar* y) { forward_triples(item, row, rows, y); });
    const int64_t before = in_order ? backward : 1;
    phase(before, [this](int64_t item, int64_t row, int64_t rows, Scalar* nu) { backward_few(item, row, rows, nu); });
    phase(backward - before,
          [this](int64_t item, int64_t row, int64_t rows, Scalar* nu) { backward_few(item, 1 + row, rows, nu); });
    phase(a.adjoint_count > backward ? a.pair_count : 0,
          [this](int64_t item, int64_t row, int64_t rows, Scalar* nu) { backward_pairs(item, row, rows, nu); });
  }

  // work(item, first row, rows, scratch) for blocks of the rows of all items.
  template <class Work>
  void phase(int64_t rows, Work work) const {
    const int64_t blocks = (rows + block_rows - 1) / block_rows, tasks = a.items * blocks;
    const int threads = useful_threads(a.threads, a.items * rows * work_of_row);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      const int64_t from = tasks * thread / threads, to = tasks * (thread + 1) / threads;
      if (from == to) continue;
      const std::unique_ptr<Scalar[]> scratch(new Scalar[block_rows * widest]);
      for (int64_t task = from; task < to; ++task) {
        const int64_t row = task % blocks * block_rows;
        work(task / blocks, row, std::min(block_rows, rows - row), scratch.get());
      }
    }
  }

  // Rows first_row ... of one item through all layers. outputs(row, offset, width, y) writes [s(z)]_S of one row.
  template <class Outputs>
  void carry_forward(int64_t item, int64_t first_row, int64_t rows, Scalar* y, Outputs outputs) const {
    for (int64_t l = 0; l + 1 < a.layers; ++l) {
      for (int64_t r = 0; r < rows; ++r) outputs(first_row + r, offsets[l], a.widths[l], y + r * widest);
      multiply_rows<Vector>(y, widest, rows, forward[l], row_of(item, first_row) + offsets[l + 1], units);
    }
  }

  // The same backward. arguments(row, offset, width, nu) writes [s'(z) mu]_S of one row.
  template <class Arguments>
  void carry_backward(int64_t item, int64_t first_row, int64_t rows, Scalar* nu, Arguments arguments) const {
    for (int64_t l = a.layers - 1; l > 0; --l) {
      for (int64_t r = 0; r < rows; ++r) arguments(first_row + r, offsets[l], a.widths[l], nu + r * widest);
      multiply_rows<Vector>(nu, widest, rows, backward[l - 1], adjoint_of(item, first_row) + offsets[l - 1], units);
    }
  }

  void forward_singles(int64_t item, int64_t row, int64_t rows, Scalar* y) const {
    const int64_t width = a.widths[0];
    const Scalar* from = static_cast<const Scalar*>(a.first) + (a.first_by_item ? item * a.singles : 0) * width;
    for (int64_t r = row; r < row + rows; ++r) std::copy_n(from + r * width, width, row_of(item, r));
    carry_forward(item, row, rows, y, [=](int64_t at, int64_t offset, int64_t width, Scalar* y) {
      const Scalar *z = row_of(item, at) + offset, *s1 = derivative(item, 1) + offset;
#pragma omp simd
      for (int64_t u = 0; u < width; ++u) y[u] = s1[u] * z[u];
    });
  }

  void forward_pairs(int64_t item, int64_t pair, int64_t rows, Scalar* y) const {
    const int64_t first = a.singles + pair;
    for (int64_t r = first; r < first + rows; ++r) std::fill_n(row_of(item, r), a.widths[0], Scalar(0));
    carry_forward(item, first, rows, y, [=](int64_t at, int64_t offset, int64_t width, Scalar* y) {
      const int32_t* both = a.pairs + 2 * (at - a.singles);
      const Scalar *z = row_of(item, at) + offset, *zi = row_of(item, both[0]) + offset,
                   *zj = row_of(item, both[1]) + offset;
      const Scalar *s1 = derivative(item, 1) + offset, *s2 = derivative(item, 2) + offset;
#pragma omp simd
      for (int64_t u = 0; u < width; ++u) y[u] = s1[u] * z[u] + s2[u] * zi[u] * zj[u];
    });
  }

  void forward_triples(int64_t item, int64_t triple, int64_t rows, Scalar* y) const {
    const int64_t start = a.singles + a.pair_count, first = start + triple;
    for (int64_t r = first; r < first + rows; ++r) std::fill_n(row_of(item, r), a.widths[0], Scalar(0));
    carry_forward(item, first, rows, y, [=](int64_t at, int64_t offset, int64_t width, Scalar* y) {
      const int32_t *of = a.triples + 3 * (at - start), *rest = a.triple_pairs + 3 * (at - start);
      const Scalar *z = row_of(item, at) + offset, *zi = row_of(item, of[0]) + offset,
                   *zj = row_of(item, of[1]) + offset, *zk = row_of(item, of[2]) + offset,
                   *zjk = row_of(item, rest[0]) + offset, *zik = row_of(item, rest[1]) + offset,
                   *zij = row_of(item, rest[2]) + offset;
      const Scalar *s1 = derivative(item, 1) + offset, *s2 = derivative(item, 2) + offset,
                   *s3 = derivative(item, 3) + offset;
#pragma omp simd
      for (int64_t u = 0; u < width; ++u) {
        const Scalar ij = zi[u] * zj[u];
        y[u] = s1[u] * z[u] + s2[u] * (zi[u] * zjk[u] + zj[u] * zik[u] + zk[u] * zij[u]) + s3[u] * ij * zk[u];
      }
    });
  }

  void clear_last(int64_t item, int64_t first, int64_t rows) const {
    for (int64_t r = first; r < first + rows; ++r) {
      std::fill_n(adjoint_of(item, r) + offsets[a.layers - 1], a.widths[a.layers - 1], Scalar(0));
    }
  }

  // The adjoints of no direction, row 0, and of one: a layer of row 0 is read after it was written.
  void backward_few(int64_t item, int64_t first, int64_t rows, Scalar* nu) const {
    clear_last(item, first, rows);
    if (first == 0) {
      const int64_t width = a.widths[a.layers - 1];
      std::copy_n(static_cast<const Scalar*>(a.last) + (a.last_by_item ? item * width : 0), width,
                  adjoint_of(item, 0) + offsets[a.layers - 1]);
    }
    carry_backward(item, first, rows, nu, [=](int64_t at, int64_t offset, int64_t width, Scalar* nu) {
      const Scalar *mu = adjoint_of(item, 0) + offset, *s1 = derivative(item, 1) + offset;
      if (at == 0) {
#pragma omp simd
        for (int64_t u = 0; u < width; ++u) nu[u] = s1[u] * mu[u];
        return;
      }
      const Scalar *mui = adjoint_of(item, at) + offset, *zi = row_of(item, at - 1) + offset,
                   *s2 = derivative(item, 2) + offset;
#pragma omp simd
      for (int64_t u = 0; u < width; ++u) nu[u] = s1[u] * mui[u] + s2[u] * zi[u] * mu[u];
    });
  }

  void backward_pairs(int64_t item, int64_t pair, int64_t rows, Scalar* nu) const {
    const int64_t start = 1 + a.singles;
    clear_last(item, start + pair, rows);
    carry_backward(item, start + pair, rows, nu, [=](int64_t at, int64_t offset, int64_t width, Scalar* nu) {
      const int32_t* both = a.pairs + 2 * (at - start);
      const Scalar *mu = adjoint_of(item, 0) + offset, *mui = adjoint_of(item, 1 + both[0]) + offset,
                   *muj = adjoint_of(item, 1 + both[1]) + offset, *muij = adjoint_of(item, at) + offset,
                   *zi = row_of(item, both[0]) + offset, *zj = row_of(item, both[1]) + offset,
                   *zij = row_of(item, at - 1) + offset;
      const Scalar *s1 = derivative(item, 1) + offset, *s2 = derivative(item, 2) + offset,
                   *s3 = derivative(item, 3) + offset;
#pragma omp simd
      for (int64_t u = 0; u < width; ++u) {
        nu[u] = s1[u] * muij[u] + s2[u] * (zi[u] * muj[u] + zj[u] * mui[u] + zij[u] * mu[u]) +
                s3[u] * zi[u] * zj[u] * mu[u];
      }
    });
  }
};

}  // namespace

void feed_forward_rows(const FeedForwardRows& arguments) {
  arguments.dtype == Dtype::float64 ? Network<Double, double>(arguments).run_all()
                                    : Network<Float, float>(arguments).run_all();
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

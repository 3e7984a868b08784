// A task is a block of items, which goes through all layers.
#include "kernels/feed_forward_values/feed_forward_values.h"

#include <algorithm>
#include <memory>

#include "derivative_rows.h"
#include "lanes.h"
#include "row_product.h"
#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t most_block_items = 6;
// What a multiplication and a derivative take, in the entries that `useful_threads` counts.
constexpr double entries_a_weight = 0.125, entries_a_derivative = 8;

template <class Lane>
class Values {
  using Scalar = typename Lane::Scalar;
  using Vector = typename Lane::Real;

 public:
  explicit Values(const FeedForwardValues& arguments)
      : a(arguments), matrices(static_cast<const Scalar*>(a.transposed), a.layers, [this](int64_t l) {
          return std::make_pair(l ? a.widths[l - 1] : a.inputs, a.widths[l]);
        }) {
    int64_t weights = 0;
    for (int64_t l = 0; l < a.layers; ++l) {
      units += a.widths[l];
      widest = std::max(widest, a.widths[l]);
      weights += a.widths[l] * (l ? a.widths[l - 1] : a.inputs);
    }
    work = static_cast<int64_t>(entries_a_weight * weights + entries_a_derivative * units * (a.orders + 1));
  }

  void run_all() const {
    const int threads = useful_threads(a.threads, a.items * work);
    const int64_t blocks = std::max<int64_t>(threads, (a.items + most_block_items - 1) / most_block_items);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t from = a.items * block / blocks, to = a.items * (block + 1) / blocks;
      if (from < to) run(from, to - from);
    }
  }

 private:
  const FeedForwardValues& a;
  const RowMatrices<Vector, Scalar> matrices;
  int64_t units = 0, widest = 0, work = 0;

  void run(int64_t first_item, int64_t items) const {
    const int64_t most = std::min(most_block_items, items);
    const std::unique_ptr<Scalar[]> scratch(new Scalar[2 * most * widest + (max_order + 1) * (widest + Lane::count)]);
    for (int64_t item = first_item; item < first_item + items; item += most) {
      of_block(item, std::min(most, first_item + items - item), scratch.get());
    }
  }

  void of_block(int64_t item, int64_t items, Scalar* scratch) const {
    Scalar* z = scratch;  // (items, widest)
    Scalar* y = z + items * widest;
    Scalar* s = y + items * widest;  // (orders + 1, widest and a vector)
    const Scalar* from = static_cast<const Scalar*>(a.x) + item * a.inputs;
    int64_t from_stride = a.inputs, offset = 0;
    for (int64_t l = 0; l < a.layers; offset += a.widths[l++]) {
      multiply_rows<Vector>(from, from_stride, items, matrices[l], z, widest);
      for (int64_t i = 0; i < items; ++i) apply(l, item + i, offset, z + i * widest, y + i * widest, s);
      from = y;
      from_stride = widest;
    }
  }

  // Adds the biases of a layer to z, and writes s(z) to y and all derivatives to where they belong.
  void apply(int64_t layer, int64_t item, int64_t offset, Scalar* z, Scalar* y, Scalar* s) const {
    const int64_t width = a.widths[layer], stride = widest + Lane::count;
    const Scalar* bias = static_cast<const Scalar*>(a.biases) + offset;
    for (int64_t u = 0; u < width; ++u) z[u] += bias[u];
    write_derivatives<Lane>({a.activations[layer], a.parameters + 3 * layer, 0, a.orders}, z, width, s, stride);
    std::copy_n(s, width, y);
    Scalar* out = static_cast<Scalar*>(a.derivatives) + item * (a.orders + 1) * units + offset;
    for (int k = 0; k <= a.orders; ++k) std::copy_n(s + k * stride, width, out + k * units);
  }
};

}  // namespace

void feed_forward_values(const FeedForwardValues& arguments) {
  arguments.dtype == Dtype::float64 ? Values<Lanes<DoubleLanes>>(arguments).run_all()
                                    : Values<Lanes<FloatLanes>>(arguments).run_all();
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

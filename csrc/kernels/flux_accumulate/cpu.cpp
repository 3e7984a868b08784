// A task is an item and a chunk of its entries: the chunk of mean and m2 stays in the first-level cache while the rows
// of the item go by, so that memory sees each of them read and written once.
#include "kernels/flux_accumulate/flux_accumulate.h"

#include <cmath>

#include "elements.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t entries_in_cache = 1024;  // of five arrays

// Adds one row to a chunk (Welford 1962); `count` points with this one. Multiply-adds are not fused here
// (CMakeLists.txt): rows with the same flux have to have the same rounded flux as their mean, so that m2 stays zero.
template <bool with_points, bool magnitude, bool with_m2, class Scalar, class Gradient>
void add_row(Scalar* __restrict__ mean, Scalar* __restrict__ m2, const Scalar* __restrict__ center,
             const Scalar* __restrict__ point, const Gradient* __restrict__ gradient, int64_t entries, Scalar count) {
#pragma omp simd
  for (int64_t e = 0; e < entries; ++e) {
    Scalar flux = static_cast<Scalar>(number(gradient[e]));
    if (with_points) flux *= center[e] - point[e];
    if (magnitude) flux = std::abs(flux);
    const Scalar delta = flux - mean[e];
    const Scalar change = delta / count;
    mean[e] += change;
    if (with_m2) m2[e] += delta * (delta - change);  // no term is negative, however it is rounded
  }
}

template <bool with_points, bool magnitude, bool with_m2, class Scalar, class Gradient>
void accumulate(const FluxAccumulate& arguments) {
  const int64_t entries = arguments.entries;
  const int64_t chunks = (entries + entries_in_cache - 1) / entries_in_cache;
  const int threads = useful_threads(arguments.threads, arguments.starts[arguments.item_count] * entries);
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
  for (int64_t k = 0; k < arguments.item_count; ++k) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t item = arguments.items_with[k], begin = chunk * entries_in_cache;
      const int64_t length = chunk + 1 < chunks ? entries_in_cache : entries - begin;
      const int64_t in_item = item * entries + begin;
      for (int64_t r = arguments.starts[k]; r < arguments.starts[k + 1]; ++r) {
        const int64_t in_row = arguments.rows[r] * entries + begin;
        const int64_t count = arguments.count[item] + r - arguments.starts[k] + 1;
        add_row<with_points, magnitude, with_m2>(
            static_cast<Scalar*>(arguments.mean) + in_item,
            with_m2 ? static_cast<Scalar*>(arguments.m2) + in_item : nullptr,
            with_points ? static_cast<const Scalar*>(arguments.centers) + in_item : nullptr,
            with_points ? static_cast<const Scalar*>(arguments.points) + in_row : nullptr,
            static_cast<const Gradient*>(arguments.gradients) + in_row, length, static_cast<Scalar>(count));
      }
    }
  }
}

template <bool with_points, class Scalar, class Gradient>
void accumulate_flux(const FluxAccumulate& arguments) {
  if (arguments.magnitude) {
    arguments.m2 ? accumulate<with_points, true, true, Scalar, Gradient>(arguments)
                 : accumulate<with_points, true, false, Scalar, Gradient>(arguments);
  } else {
    arguments.m2 ? accumulate<with_points, false, true, Scalar, Gradient>(arguments)
                 : accumulate<with_points, false, false, Scalar, Gradient>(arguments);
  }
}

template <class Scalar, class Gradient>
void flux_accumulate_of(const FluxAccumulate& arguments) {
  arguments.points ? accumulate_flux<true, Scalar, Gradient>(arguments)
                   : accumulate_flux<false, Scalar, Gradient>(arguments);
}

}  // namespace

void flux_accumulate(const FluxAccumulate& arguments) {
  if (arguments.dtype == Dtype::float64) {
    flux_accumulate_of<double, double>(arguments);
  } else if (arguments.gradient_dtype == Dtype::bfloat16) {
    flux_accumulate_of<float, BFloat16>(arguments);
  } else {
    flux_accumulate_of<float, float>(arguments);
  }
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

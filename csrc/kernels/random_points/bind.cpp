#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "kernels/random_points/random_points.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::random_points_binding {
namespace {

PointsKind kind_of(const std::string& name) {
  if (name == "sphere") return PointsKind::sphere;
  if (name == "box") return PointsKind::box;
  if (name == "normal") return PointsKind::normal;
  throw std::invalid_argument("kind: expected sphere, box or normal, got " + name);
}

void run(uintptr_t points, uintptr_t centers, uintptr_t item, uintptr_t item_ids, uintptr_t point, uintptr_t active,
         int64_t rows, int64_t items, int64_t entries, double radius, const std::string& kind, uint32_t seed,
         uint32_t step, const std::string& dtype, int threads) {
  const std::vector<int64_t> active_rows = flagged_rows(active, item, rows, items);
  XAI_FAST_DISPATCH(random_points)
  ({pointer<void>(points), pointer<const void>(centers), pointer<const int64_t>(item), pointer<const int64_t>(item_ids),
    pointer<const int64_t>(point), active_rows.data(), static_cast<int64_t>(active_rows.size()), entries, radius,
    kind_of(kind), seed, step, dtype_of(dtype), threads});
}

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  if (!XAI_FAST_DISPATCH(philox_block)({counter.data(), key[0], key[1]})) {
    throw std::runtime_error("philox4x32: the SIMD lanes do not agree");
  }
  return counter;
}

void bind(py::module_& module) {
  module.def("random_points", &run, py::kw_only(), py::arg("points"), py::arg("centers"), py::arg("item"),
             py::arg("item_ids"), py::arg("point"), py::arg("active"), py::arg("rows"), py::arg("items"),
             py::arg("entries"), py::arg("radius"), py::arg("kind"), py::arg("seed"), py::arg("step"), py::arg("dtype"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.random_points; tensors are addresses.");
  module.def("philox4x32", &philox, py::arg("counter"), py::arg("key"),
             "Philox4x32-10 of four and two words, as the kernel computes it, for known-answer tests.");
}

const Registration registration("random_points", &bind);

}  // namespace
}  // namespace xai_fast::random_points_binding

#include <pybind11/pybind11.h>

#include "kernels/sphere_step/sphere_step.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::sphere_step_binding {
namespace {

StepRule rule_of(const std::string& name) {
  if (name == "sign") return StepRule::sign;
  if (name == "normalized") return StepRule::normalized;
  if (name == "tangent") return StepRule::tangent;
  throw std::invalid_argument("rule: expected sign, normalized or tangent, got " + name);
}

void run(uintptr_t points, uintptr_t centers, uintptr_t gradients, uintptr_t item, uintptr_t active, int64_t rows,
         int64_t items, int64_t entries, double radius, const std::string& rule, double tangent_floor,
         const std::string& dtype, const std::string& gradient_dtype, int threads) {
  const std::vector<int64_t> active_rows = flagged_rows(active, item, rows, items);
  XAI_FAST_DISPATCH(sphere_step)
  ({pointer<void>(points), pointer<const void>(centers), pointer<const void>(gradients), pointer<const int64_t>(item),
    active_rows.data(), static_cast<int64_t>(active_rows.size()), entries, radius, tangent_floor, rule_of(rule),
    dtype_of(dtype), dtype_of(gradient_dtype), threads});
}

void bind(py::module_& module) {
  module.def("sphere_step", &run, py::kw_only(), py::arg("points"), py::arg("centers"), py::arg("gradients"),
             py::arg("item"), py::arg("active"), py::arg("rows"), py::arg("items"), py::arg("entries"),
             py::arg("radius"), py::arg("rule"), py::arg("tangent_floor"), py::arg("dtype"), py::arg("gradient_dtype"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.sphere_step; tensors are addresses.");
}

const Registration registration("sphere_step", &bind);

}  // namespace
}  // namespace xai_fast::sphere_step_binding

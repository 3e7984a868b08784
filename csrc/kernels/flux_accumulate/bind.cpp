#include "kernels/flux_accumulate/flux_accumulate.h"

#include <pybind11/pybind11.h>

#include <algorithm>

#include "registry.h"

namespace py = pybind11;

namespace xai_fast::flux_accumulate_binding {
namespace {

void run(uintptr_t mean, uintptr_t m2, uintptr_t count, uintptr_t centers, uintptr_t points, uintptr_t gradients,
         uintptr_t item, uintptr_t negative, int64_t rows, int64_t items, int64_t entries, bool magnitude,
         const std::string& dtype, const std::string& gradient_dtype, int threads) {
  std::vector<int64_t> by_item = flagged_rows(negative, item, rows, items);
  const int64_t* item_of = pointer<const int64_t>(item);
  std::stable_sort(by_item.begin(), by_item.end(), [=](int64_t a, int64_t b) { return item_of[a] < item_of[b]; });
  std::vector<int64_t> items_with, starts;
  for (size_t k = 0; k < by_item.size(); ++k) {
    if (k == 0 || item_of[by_item[k]] != items_with.back()) {
      items_with.push_back(item_of[by_item[k]]);
      starts.push_back(static_cast<int64_t>(k));
    }
  }
  starts.push_back(static_cast<int64_t>(by_item.size()));
  const int64_t item_count = static_cast<int64_t>(items_with.size());
  XAI_FAST_DISPATCH(flux_accumulate)
  ({pointer<void>(mean), pointer<void>(m2), pointer<const int64_t>(count), pointer<const void>(centers),
    pointer<const void>(points), pointer<const void>(gradients), by_item.data(), items_with.data(), starts.data(),
    item_count, entries, magnitude, dtype_of(dtype), dtype_of(gradient_dtype), threads});
  for (int64_t k = 0; k < item_count; ++k) pointer<int64_t>(count)[items_with[k]] += starts[k + 1] - starts[k];
}

void bind(py::module_& module) {
  module.def("flux_accumulate", &run, py::kw_only(), py::arg("mean"), py::arg("m2"), py::arg("count"),
             py::arg("centers"), py::arg("points"), py::arg("gradients"), py::arg("item"), py::arg("negative"),
             py::arg("rows"), py::arg("items"), py::arg("entries"), py::arg("magnitude"), py::arg("dtype"),
             py::arg("gradient_dtype"), py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.flux_accumulate; tensors are addresses, those of m2, centers and points may be 0.");
}

const Registration registration("flux_accumulate", &bind);

}  // namespace
}  // namespace xai_fast::flux_accumulate_binding

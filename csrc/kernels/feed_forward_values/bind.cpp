#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "activation_names.h"
#include "kernels/feed_forward_values/feed_forward_values.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::feed_forward_values_binding {
namespace {

void run(uintptr_t derivatives, uintptr_t x, uintptr_t transposed, uintptr_t biases, const std::vector<int64_t>& widths,
         const std::vector<std::string>& activations, const std::vector<double>& parameters, int64_t items,
         int64_t inputs, int orders, const std::string& dtype, int threads) {
  std::vector<Activation> functions;
  for (const std::string& name : activations) functions.push_back(activation_of(name));
  XAI_FAST_DISPATCH(feed_forward_values)
  ({pointer<void>(derivatives), pointer<const void>(x), pointer<const void>(transposed), pointer<const void>(biases),
    widths.data(), functions.data(), parameters.data(), static_cast<int64_t>(widths.size()), items, inputs, orders,
    dtype_of(dtype), threads});
}

void bind(py::module_& module) {
  module.def("feed_forward_values", &run, py::kw_only(), py::arg("derivatives"), py::arg("x"), py::arg("transposed"),
             py::arg("biases"), py::arg("widths"), py::arg("activations"), py::arg("parameters"), py::arg("items"),
             py::arg("inputs"), py::arg("orders"), py::arg("dtype"), py::arg("threads"),
             py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.feed_forward_values; tensors are addresses.");
}

const Registration registration("feed_forward_values", &bind);

}  // namespace
}  // namespace xai_fast::feed_forward_values_binding

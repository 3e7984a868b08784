#include <pybind11/pybind11.h>

#include "kernels/relevance_ratio/relevance_ratio.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::relevance_ratio_binding {
namespace {

void run(uintptr_t out, uintptr_t sums, uintptr_t c, uintptr_t numerator, uintptr_t divisor, uintptr_t bias,
         int64_t inner, double eps, int64_t rows, int64_t items, int64_t units, int64_t channels,
         const std::string& dtype, int threads) {
  XAI_FAST_DISPATCH(relevance_ratio)
  ({pointer<void>(out), pointer<double>(sums), pointer<const void>(c), pointer<const void>(numerator),
    pointer<const void>(divisor), pointer<const void>(bias), inner, eps, rows, items, units, channels, dtype_of(dtype),
    threads});
}

void bind(py::module_& module) {
  module.def("relevance_ratio", &run, py::kw_only(), py::arg("out"), py::arg("sums"), py::arg("c"),
             py::arg("numerator"), py::arg("divisor"), py::arg("bias"), py::arg("inner"), py::arg("eps"),
             py::arg("rows"), py::arg("items"), py::arg("units"), py::arg("channels"), py::arg("dtype"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.relevance_ratio; tensors are addresses, those of sums and bias may be 0.");
}

const Registration registration("relevance_ratio", &bind);

}  // namespace
}  // namespace xai_fast::relevance_ratio_binding

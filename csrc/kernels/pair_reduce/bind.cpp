#include <pybind11/pybind11.h>

#include "kernels/pair_reduce/pair_reduce.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::pair_reduce_binding {
namespace {

void run(uintptr_t sums, uintptr_t left, uintptr_t right, uintptr_t weight, int64_t items, int64_t rows,
         int64_t columns, int64_t units, const std::string& dtype, int threads) {
  XAI_FAST_DISPATCH(pair_reduce)
  ({pointer<void>(sums), pointer<const void>(left), pointer<const void>(right), pointer<const void>(weight), items,
    rows, columns, units, dtype_of(dtype), threads});
}

void bind(py::module_& module) {
  module.def("pair_reduce", &run, py::kw_only(), py::arg("sums"), py::arg("left"), py::arg("right"), py::arg("weight"),
             py::arg("items"), py::arg("rows"), py::arg("columns"), py::arg("units"), py::arg("dtype"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.pair_reduce; tensors are addresses, that of the weight may be 0.");
}

const Registration registration("pair_reduce", &bind);

}  // namespace
}  // namespace xai_fast::pair_reduce_binding

#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "cuda_launch.h"
#include "kernels/tuple_sum/tuple_sum.h"
#include "kernels/tuple_sum/tuple_sum_cuda.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::tuple_sum_binding {
namespace {

// Columns of small subsets come first; those that have an adjoint may only name rows that have one.
void check_members(const int32_t* members, int64_t tuples, int64_t columns, int64_t with_adjoint, int64_t rows,
                   int64_t adjoint_rows) {
  for (int64_t t = 0; t < tuples; ++t) {
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t row = members[t * columns + column];
      const int64_t end = column < with_adjoint && adjoint_rows < rows ? adjoint_rows : rows;
      if (row >= 0 && row < end) continue;
      throw std::out_of_range("members: expected an index from 0 to " + std::to_string(end - 1) + ", got " +
                              std::to_string(row) + " in tuple " + std::to_string(t) + ", column " +
                              std::to_string(column));
    }
  }
}

void run(uintptr_t out, uintptr_t derivatives, uintptr_t rows, uintptr_t adjoints, uintptr_t members, int64_t items,
         int64_t tuples, int64_t units, int64_t columns, int64_t with_adjoint, int64_t derivative_count,
         int64_t row_count, int64_t adjoint_count, int order, const std::string& dtype, int threads) {
  check_members(pointer<const int32_t>(members), tuples, columns, with_adjoint, row_count, adjoint_count - 1);
  XAI_FAST_DISPATCH(tuple_sum)
  ({pointer<void>(out), pointer<const void>(derivatives), pointer<const void>(rows), pointer<const void>(adjoints),
    pointer<const int32_t>(members), items, tuples, units, derivative_count, row_count, adjoint_count, order,
    dtype_of(dtype), threads});
}

void bind(py::module_& module) {
  module.def("tuple_sum", &run, py::kw_only(), py::arg("out"), py::arg("derivatives"), py::arg("rows"),
             py::arg("adjoints"), py::arg("members"), py::arg("items"), py::arg("tuples"), py::arg("units"),
             py::arg("columns"), py::arg("with_adjoint"), py::arg("derivative_count"), py::arg("row_count"),
             py::arg("adjoint_count"), py::arg("order"), py::arg("dtype"), py::arg("threads"),
             py::call_guard<py::gil_scoped_release>(), "See xai_fast.kernels.tuple_sum; tensors are addresses.");
#ifdef XAI_FAST_CUDA
  module.def("tuple_sum_cuda", checked_launch<xai_fast_tuple_sum_cuda>(), py::kw_only(), py::arg("out"),
             py::arg("derivatives"), py::arg("rows"), py::arg("adjoints"), py::arg("members"), py::arg("items"),
             py::arg("tuples"), py::arg("units"), py::arg("derivative_count"), py::arg("row_count"),
             py::arg("adjoint_count"), py::arg("order"), py::arg("element_size"), py::arg("stream"),
             "tuple_sum on the current device; tensors and the stream are addresses.");
#endif
}

const Registration registration("tuple_sum", &bind);

}  // namespace
}  // namespace xai_fast::tuple_sum_binding

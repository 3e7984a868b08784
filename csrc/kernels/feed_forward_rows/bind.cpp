#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "kernels/feed_forward_rows/checks.h"
#include "kernels/feed_forward_rows/feed_forward_rows.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::feed_forward_rows_binding {
namespace {

void run(uintptr_t rows, uintptr_t adjoints, uintptr_t derivatives, uintptr_t first, uintptr_t last, uintptr_t weights,
         uintptr_t transposed, const std::vector<int64_t>& widths, uintptr_t pairs, uintptr_t triples,
         uintptr_t triple_pairs, int64_t items, int64_t singles, int64_t pair_count, int64_t triple_count,
         int64_t adjoint_count, int64_t derivative_count, bool first_by_item, bool last_by_item,
         const std::string& dtype, int threads) {
  check_sets(pointer<const int32_t>(pairs), pair_count, pointer<const int32_t>(triples),
             pointer<const int32_t>(triple_pairs), triple_count, singles);
  XAI_FAST_DISPATCH(feed_forward_rows)
  ({pointer<void>(rows),
    pointer<void>(adjoints),
    pointer<const void>(derivatives),
    pointer<const void>(first),
    pointer<const void>(last),
    pointer<const void>(weights),
    pointer<const void>(transposed),
    widths.data(),
    pointer<const int32_t>(pairs),
    pointer<const int32_t>(triples),
    pointer<const int32_t>(triple_pairs),
    static_cast<int64_t>(widths.size()),
    items,
    singles,
    pair_count,
    triple_count,
    adjoint_count,
    derivative_count,
    first_by_item,
    last_by_item,
    dtype_of(dtype),
    threads});
}

void bind(py::module_& module) {
  module.def("feed_forward_rows", &run, py::kw_only(), py::arg("rows"), py::arg("adjoints"), py::arg("derivatives"),
             py::arg("first"), py::arg("last"), py::arg("weights"), py::arg("transposed"), py::arg("widths"),
             py::arg("pairs"), py::arg("triples"), py::arg("triple_pairs"), py::arg("items"), py::arg("singles"),
             py::arg("pair_count"), py::arg("triple_count"), py::arg("adjoint_count"), py::arg("derivative_count"),
             py::arg("first_by_item"), py::arg("last_by_item"), py::arg("dtype"), py::arg("threads"),
             py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.feed_forward_rows; tensors are addresses.");
}

const Registration registration("feed_forward_rows", &bind);

}  // namespace
}  // namespace xai_fast::feed_forward_rows_binding

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "kernels/feed_forward_rows/feed_forward_rows.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::feed_forward_rows_binding {
namespace {

void check_range(const char* name, const int32_t* indices, int64_t count, int64_t begin, int64_t end) {
  for (int64_t at = 0; at < count; ++at) {
    if (indices[at] >= begin && indices[at] < end) continue;
    throw std::out_of_range(std::string(name) + ": expected an index from " + std::to_string(begin) + " to " +
                            std::to_string(end - 1) + ", got " + std::to_string(indices[at]) + " at position " +
                            std::to_string(at));
  }
}

void check_sets(const int32_t* pairs, int64_t pair_count, const int32_t* triples, const int32_t* triple_pairs,
                int64_t triple_count, int64_t singles) {
  check_range("pairs", pairs, 2 * pair_count, 0, singles);
  check_range("triples", triples, 3 * triple_count, 0, singles);
  check_range("triple_pairs", triple_pairs, 3 * triple_count, singles, singles + pair_count);
}

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

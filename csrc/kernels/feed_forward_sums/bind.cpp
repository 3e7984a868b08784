#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "activation_names.h"
#include "kernels/feed_forward_rows/checks.h"
#include "kernels/feed_forward_sums/feed_forward_sums.h"
#include "kernels/tuple_sum/checks.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::feed_forward_sums_binding {
namespace {

void run(uintptr_t out, uintptr_t derivatives, uintptr_t rows, uintptr_t adjoints, uintptr_t x, uintptr_t transposed,
         uintptr_t biases, const std::vector<int64_t>& widths, const std::vector<std::string>& activations,
         const std::vector<double>& parameters, uintptr_t first, uintptr_t last, uintptr_t weights, uintptr_t pairs,
         uintptr_t triples, uintptr_t triple_pairs, uintptr_t members, int64_t items, int64_t inputs, int64_t singles,
         int64_t pair_count, int64_t triple_count, int64_t adjoint_count, int64_t tuples, int64_t columns,
         int64_t with_adjoint, int order, int orders, bool first_by_item, bool last_by_item, const std::string& dtype,
         int threads) {
  const int64_t row_count = singles + pair_count + triple_count, layers = static_cast<int64_t>(widths.size());
  check_sets(pointer<const int32_t>(pairs), pair_count, pointer<const int32_t>(triples),
             pointer<const int32_t>(triple_pairs), triple_count, singles);
  check_members(pointer<const int32_t>(members), tuples, columns, with_adjoint, row_count, adjoint_count - 1);
  std::vector<Activation> functions;
  functions.reserve(activations.size());
  for (const std::string& name : activations) functions.push_back(activation_of(name));
  int64_t units = 0;
  for (const int64_t width : widths) units += width;
  const Dtype of = dtype_of(dtype);
  const int64_t first_entries = widths.empty() ? 0 : inputs * widths[0];
  const uintptr_t behind_first = transposed + first_entries * (of == Dtype::float64 ? sizeof(double) : sizeof(float));
  XAI_FAST_DISPATCH(feed_forward_sums)
  ({{pointer<void>(derivatives), pointer<const void>(x), pointer<const void>(transposed), pointer<const void>(biases),
     widths.data(), functions.data(), parameters.data(), layers, items, inputs, orders, of, threads},
    {pointer<void>(rows),
     pointer<void>(adjoints),
     pointer<const void>(derivatives),
     pointer<const void>(first),
     pointer<const void>(last),
     pointer<const void>(weights),
     pointer<const void>(behind_first),
     widths.data(),
     pointer<const int32_t>(pairs),
     pointer<const int32_t>(triples),
     pointer<const int32_t>(triple_pairs),
     layers,
     items,
     singles,
     pair_count,
     triple_count,
     adjoint_count,
     int64_t{orders} + 1,
     first_by_item,
     last_by_item,
     of,
     threads},
    {pointer<void>(out), pointer<const void>(derivatives), pointer<const void>(rows), pointer<const void>(adjoints),
     pointer<const int32_t>(members), items, tuples, units, int64_t{orders} + 1, row_count, adjoint_count, order, of,
     threads}});
}

void bind(py::module_& module) {
  module.def("feed_forward_sums", &run, py::kw_only(), py::arg("out"), py::arg("derivatives"), py::arg("rows"),
             py::arg("adjoints"), py::arg("x"), py::arg("transposed"), py::arg("biases"), py::arg("widths"),
             py::arg("activations"), py::arg("parameters"), py::arg("first"), py::arg("last"), py::arg("weights"),
             py::arg("pairs"), py::arg("triples"), py::arg("triple_pairs"), py::arg("members"), py::arg("items"),
             py::arg("inputs"), py::arg("singles"), py::arg("pair_count"), py::arg("triple_count"),
             py::arg("adjoint_count"), py::arg("tuples"), py::arg("columns"), py::arg("with_adjoint"), py::arg("order"),
             py::arg("orders"), py::arg("first_by_item"), py::arg("last_by_item"), py::arg("dtype"), py::arg("threads"),
             py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.feed_forward_sums; tensors are addresses.");
}

const Registration registration("feed_forward_sums", &bind);

}  // namespace
}  // namespace xai_fast::feed_forward_sums_binding

#include <pybind11/pybind11.h>

#include "kernels/pair_saliency/pair_saliency.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::pair_saliency_binding {
namespace {

PairSaliency arguments_of(uintptr_t out, uintptr_t pairs, int64_t k, uintptr_t sums, uintptr_t mask,
                          bool mask_of_each_item, bool symmetric, int64_t items, int64_t positions,
                          const std::string& dtype, int threads) {
  return {pointer<void>(out),
          pointer<int64_t>(pairs),
          pointer<const void>(sums),
          pointer<const bool>(mask),
          mask_of_each_item,
          symmetric,
          items,
          positions,
          k,
          dtype_of(dtype),
          threads};
}

void run(uintptr_t out, uintptr_t sums, uintptr_t mask, bool mask_of_each_item, bool symmetric, int64_t items,
         int64_t positions, const std::string& dtype, int threads) {
  XAI_FAST_DISPATCH(pair_saliency)
  (arguments_of(out, 0, 0, sums, mask, mask_of_each_item, symmetric, items, positions, dtype, threads));
}

void run_top_k(uintptr_t values, uintptr_t pairs, int64_t k, uintptr_t sums, uintptr_t mask, bool mask_of_each_item,
               bool symmetric, int64_t items, int64_t positions, const std::string& dtype, int threads) {
  XAI_FAST_DISPATCH(pair_top_k)
  (arguments_of(values, pairs, k, sums, mask, mask_of_each_item, symmetric, items, positions, dtype, threads));
}

void bind(py::module_& module) {
  module.def("pair_saliency", &run, py::kw_only(), py::arg("out"), py::arg("sums"), py::arg("mask"),
             py::arg("mask_of_each_item"), py::arg("symmetric"), py::arg("items"), py::arg("positions"),
             py::arg("dtype"), py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.pair_saliency; tensors are addresses, that of the mask may be 0.");
  module.def("pair_top_k", &run_top_k, py::kw_only(), py::arg("values"), py::arg("pairs"), py::arg("k"),
             py::arg("sums"), py::arg("mask"), py::arg("mask_of_each_item"), py::arg("symmetric"), py::arg("items"),
             py::arg("positions"), py::arg("dtype"), py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.pair_saliency; tensors are addresses, that of the mask may be 0.");
}

const Registration registration("pair_saliency", &bind);

}  // namespace
}  // namespace xai_fast::pair_saliency_binding

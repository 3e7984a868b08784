#include <pybind11/pybind11.h>

#include "cuda_launch.h"
#include "kernels/tuple_join/tuple_join.h"
#include "kernels/tuple_join/tuple_join_cuda.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::tuple_join_binding {
namespace {

void run(uintptr_t out, uintptr_t count, uintptr_t parents, int64_t parent_count, int order, int64_t features,
         int64_t begin, int64_t end, int threads) {
  XAI_FAST_DISPATCH(tuple_join)
  ({pointer<int32_t>(out), pointer<int64_t>(count), pointer<const int32_t>(parents), parent_count, order, features,
    begin, end, threads});
}

void bind(py::module_& module) {
  module.def("tuple_join", &run, py::kw_only(), py::arg("out"), py::arg("count"), py::arg("parents"),
             py::arg("parent_count"), py::arg("order"), py::arg("features"), py::arg("begin"), py::arg("end"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.tuple_join; tensors are addresses.");
#ifdef XAI_FAST_CUDA
  module.def("tuple_join_workspace", &xai_fast_tuple_join_workspace, py::kw_only(), py::arg("parent_count"),
             py::arg("positions"), "Bytes of device memory that tuple_join_cuda needs beside the tensors.");
  module.def("tuple_join_cuda", checked_launch<xai_fast_tuple_join_cuda>(), py::kw_only(), py::arg("out"),
             py::arg("count"), py::arg("parents"), py::arg("parent_count"), py::arg("order"), py::arg("features"),
             py::arg("begin"), py::arg("end"), py::arg("workspace"), py::arg("stream"),
             "tuple_join on the current device; tensors and the stream are addresses.");
#endif
}

const Registration registration("tuple_join", &bind);

}  // namespace
}  // namespace xai_fast::tuple_join_binding

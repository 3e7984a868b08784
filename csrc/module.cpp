// The one compiled module, xai_fast._native: how it was built, which instruction set it uses, the CUDA devices, and a
// function for each kernel of the table.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>

#include "device.h"
#include "isa.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast {
namespace {

bool processor_can(Isa isa) {
#if defined(XAI_FAST_HAS_AVX2) || defined(XAI_FAST_HAS_AVX512)
  __builtin_cpu_init();  // not every runtime library has done it before
#endif
  switch (isa) {
#ifdef XAI_FAST_HAS_AVX512
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#endif
#ifdef XAI_FAST_HAS_AVX2
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    case Isa::baseline:
      return true;
    default:
      return false;
  }
}

Isa best_isa() {
  for (Isa isa : {Isa::avx512, Isa::avx2}) {
    if (processor_can(isa)) return isa;
  }
  return Isa::baseline;
}

Isa& chosen_isa() {
  static Isa chosen = best_isa();
  return chosen;
}

py::dict build_info() {
  py::dict info;
  info["version"] = XAI_FAST_BUILD_VERSION;
  info["compiler"] = XAI_FAST_BUILD_COMPILER;
  info["flags"] = XAI_FAST_BUILD_FLAGS;
#ifdef _OPENMP
  info["openmp"] = _OPENMP;
#else
  info["openmp"] = py::none();
#endif
  info["cuda"] = XAI_FAST_BUILD_CUDA;
  return info;
}

py::dict cuda_devices() {
  const Devices devices = find_devices();
  py::dict found;
  found["compiled"] = devices.compiled;
  found["runtime_version"] = devices.runtime_version;
  found["driver_version"] = devices.driver_version;
  found["error"] = devices.error;
  found["names"] = devices.names;
  return found;
}

}  // namespace

#ifndef XAI_FAST_CUDA
Devices find_devices() {
  Devices devices;
  devices.error = "built without CUDA";
  return devices;
}
#endif

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

Isa isa() { return chosen_isa(); }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (processor_can(isa)) names.emplace_back(isa_name(isa));
  }
  return names;
}

void use_isa(const std::string& name) {
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (name == isa_name(isa) && processor_can(isa)) {
      chosen_isa() = isa;
      return;
    }
  }
  std::string message = "isa: expected one of";
  for (const std::string& available : available_isas()) message += " " + available;
  throw std::invalid_argument(message + ", got " + name);
}

}  // namespace xai_fast

PYBIND11_MODULE(_native, module) {
  using namespace xai_fast;
  module.doc() =
      "Compiled CPU kernels of xai_fast. They take addresses and sizes; xai_fast.kernels checks the tensors.";
  module.def("build_info", &build_info, "How this module was built.");
  module.def("cuda_devices", &cuda_devices, "What the CUDA runtime finds on this machine.");
  module.def("isa", [] { return isa_name(isa()); }, "The instruction set in use.");
  module.def("use_isa", &use_isa, py::arg("name"), "Choose one of available_isas(), for tests and measurements.");
  module.def("available_isas", &available_isas, "The instruction sets compiled and runnable here, the best last.");
  py::list kernels;
  for (const auto& [name, bind] : kernel_table()) {
    bind(module);
    kernels.append(name);
  }
  module.attr("kernels") = kernels;
}

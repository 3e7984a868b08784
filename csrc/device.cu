// The devices, from the statically linked CUDA runtime. It loads the driver when first asked, so that a host with none
// imports the module and gets an error in words.
#include <cuda_runtime.h>

#include "device.h"

namespace xai_fast {

Devices find_devices() {
  Devices devices;
  devices.compiled = true;
  cudaRuntimeGetVersion(&devices.runtime_version);
  cudaDriverGetVersion(&devices.driver_version);
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  for (int device = 0; status == cudaSuccess && device < count; ++device) {
    cudaDeviceProp properties;
    status = cudaGetDeviceProperties(&properties, device);
    if (status == cudaSuccess) {
      devices.names.push_back(std::string(properties.name) + " (sm_" + std::to_string(properties.major) +
                              std::to_string(properties.minor) + ")");
    }
  }
  if (status != cudaSuccess) {
    devices.error = cudaGetErrorString(status);
    cudaGetLastError();  // so that the error does not come up again in somebody else's call
  } else if (count == 0) {
    devices.error = "no device";
  }
  return devices;
}

}  // namespace xai_fast

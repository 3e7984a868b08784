// What the CUDA runtime says about the devices of this machine (device.cu), or that this build has no CUDA part.
#pragma once

#include <string>
#include <vector>

namespace xai_fast {

struct Devices {
  bool compiled = false;           // this build has the CUDA part
  int runtime_version = 0;         // of the runtime that is linked, as in 13000
  int driver_version = 0;          // the newest that the driver supports, 0 with no driver
  std::string error;               // why there are no devices, empty if there are
  std::vector<std::string> names;  // one per device
};

Devices find_devices();

}  // namespace xai_fast

// The table of kernels: each kernels/<kernel>/bind.cpp adds its own row, there is no central list.
#pragma once

#include <pybind11/pybind11.h>

#include <map>
#include <string>

namespace xai_fast {

using Bind = void (*)(pybind11::module_&);

inline std::map<std::string, Bind>& kernel_table() {
  static std::map<std::string, Bind> table;
  return table;
}

struct Registration {
  Registration(const char* kernel, Bind bind) { kernel_table().emplace(kernel, bind); }
};

}  // namespace xai_fast

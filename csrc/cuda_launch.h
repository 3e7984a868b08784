// Launches on a GPU as functions of the module: an error, which they return in words, is raised.
#pragma once

#include <stdexcept>
#include <string>

namespace xai_fast {

template <auto function>
struct Launch;

template <class... Arguments, const char* (*function)(Arguments...)>
struct Launch<function> {
  static void raising(Arguments... arguments) {
    if (const char* error = function(arguments...)) throw std::runtime_error(std::string("CUDA: ") + error);
  }
};

// A pointer to a function with the same arguments that throws std::runtime_error.
template <auto function>
constexpr auto checked_launch() {
  return &Launch<function>::raising;
}

}  // namespace xai_fast

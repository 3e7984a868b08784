// The instruction sets. CMake compiles each kernels/*/cpu.cpp once for each of them, in a namespace of that name
// (XAI_FAST_ISA); everything in such a file is in that namespace, so that the linker cannot mix the versions.
// bind.cpp calls the version for the processor it runs on.
#pragma once

#include <string>
#include <vector>

namespace xai_fast {

enum class Isa { baseline, avx2, avx512 };

Isa isa();                                  // the one in use: the best that this processor can, unless use_isa chose
void use_isa(const std::string& name);      // throws std::invalid_argument unless it is one of available_isas()
std::vector<std::string> available_isas();  // compiled and runnable here, the best last
const char* isa_name(Isa isa);

}  // namespace xai_fast

#ifdef XAI_FAST_HAS_AVX2
#define XAI_FAST_IF_AVX2(code) code
#else
#define XAI_FAST_IF_AVX2(code)
#endif
#ifdef XAI_FAST_HAS_AVX512
#define XAI_FAST_IF_AVX512(code) code
#else
#define XAI_FAST_IF_AVX512(code)
#endif

// Declares `result function(const Arguments&)` in each instruction set's namespace.
#define XAI_FAST_DECLARE(result, function, Arguments) \
  namespace baseline {                                \
  result function(const Arguments&);                  \
  }                                                   \
  namespace avx2 {                                    \
  result function(const Arguments&);                  \
  }                                                   \
  namespace avx512 {                                  \
  result function(const Arguments&);                  \
  }

// The version of `function` for the instruction set in use. Only in files that CMake compiles once (bind.cpp).
#define XAI_FAST_DISPATCH(function)                              \
  (XAI_FAST_IF_AVX512(isa() == Isa::avx512 ? avx512::function :) \
       XAI_FAST_IF_AVX2(isa() == Isa::avx2 ? avx2::function :) baseline::function)

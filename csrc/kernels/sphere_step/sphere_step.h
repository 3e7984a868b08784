// One step of NeFLAG's search; the contract is xai_fast/kernels/sphere_step/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

enum class StepRule { sign, normalized, tangent };

struct SphereStep {
  void* points;                // (R, N)
  const void* centers;         // (B, N)
  const void* gradients;       // (R, N)
  const int64_t* item;         // (R,)
  const int64_t* active_rows;  // (active_count,), checked
  int64_t active_count, entries;
  double radius, tangent_floor;
  StepRule rule;
  Dtype dtype, gradient_dtype;
  int threads;
};

XAI_FAST_DECLARE(void, sphere_step, SphereStep)

}  // namespace xai_fast

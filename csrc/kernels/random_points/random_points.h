// Random points around items; the contract is xai_fast/kernels/random_points/__init__.py.
#pragma once

#include <cstdint>

#include "arguments.h"
#include "isa.h"

namespace xai_fast {

enum class PointsKind { sphere, box, normal };

struct RandomPoints {
  void* points;                // (R, N)
  const void* centers;         // (B, N)
  const int64_t* item;         // (R,)
  const int64_t* item_ids;     // (B,)
  const int64_t* point;        // (R,)
  const int64_t* active_rows;  // (active_count,), checked
  int64_t active_count, entries;
  double radius;
  PointsKind kind;
  uint32_t seed, step;
  Dtype dtype;
  int threads;
};

// One call of Philox in every lane; all lanes have to agree.
struct PhiloxBlock {
  uint32_t* counter;  // (4,), replaced by the random words
  uint32_t key_0, key_1;
};

XAI_FAST_DECLARE(void, random_points, RandomPoints)
XAI_FAST_DECLARE(bool, philox_block, PhiloxBlock)

}  // namespace xai_fast

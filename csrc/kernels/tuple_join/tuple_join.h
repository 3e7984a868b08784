// Extensions of sets by one feature; the contract is xai_fast/kernels/tuple_join/__init__.py.
#pragma once

#include <cstdint>

#include "isa.h"

namespace xai_fast {

struct TupleJoin {
  int32_t* out;            // (N, order + 1)
  int64_t* count;          // (1,)
  const int32_t* parents;  // (parent_count, order)
  int64_t parent_count;
  int order;
  int64_t features, begin, end;
  int threads;
};

XAI_FAST_DECLARE(void, tuple_join, TupleJoin)

}  // namespace xai_fast

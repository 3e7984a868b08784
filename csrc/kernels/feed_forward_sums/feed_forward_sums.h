// feed_forward_values, feed_forward_rows and tuple_sum in turn; the contract is
// xai_fast/kernels/feed_forward_sums/__init__.py.
#pragma once

#include "isa.h"
#include "kernels/feed_forward_rows/feed_forward_rows.h"
#include "kernels/feed_forward_values/feed_forward_values.h"
#include "kernels/tuple_sum/tuple_sum.h"

namespace xai_fast {

struct FeedForwardSums {
  FeedForwardValues values;
  FeedForwardRows rows;
  TupleSumArguments sums;
};

XAI_FAST_DECLARE(void, feed_forward_sums, FeedForwardSums)

}  // namespace xai_fast

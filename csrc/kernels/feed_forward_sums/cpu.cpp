// A thread takes whole items through all three kernels where that leaves none idle: the threads are started once, not
// three times, and what a kernel writes of an item is in the cache of the thread that reads it next.
#include "kernels/feed_forward_sums/feed_forward_sums.h"

#include <algorithm>

#include "by_item.h"
#include "sweeps.h"

XAI_FAST_DECLARE_BY_ITEM(values_by_item, FeedForwardValues)
XAI_FAST_DECLARE_BY_ITEM(rows_by_item, FeedForwardRows)
XAI_FAST_DECLARE_BY_ITEM(sums_by_item, TupleSumArguments)

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t items_at_once = 6;  // whose values are found together, as they read the same matrices

}  // namespace

void feed_forward_sums(const FeedForwardSums& arguments) {
  const auto values = values_by_item(arguments.values);
  const auto rows = rows_by_item(arguments.rows);
  const auto sums = sums_by_item(arguments.sums);
  const int64_t items = arguments.values.items;
  const int64_t work = values->work_of_item() + rows->work_of_item() + sums->work_of_item();
  const int threads = useful_threads(arguments.values.threads, items * work);
  if (!spread_evenly(items, threads)) {
    feed_forward_values(arguments.values);
    feed_forward_rows(arguments.rows);
    tuple_sum(arguments.sums);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int thread = 0; thread < threads; ++thread) {
    const int64_t to = items * (thread + 1) / threads;
    for (int64_t from = items * thread / threads; from < to; from += items_at_once) {
      const int64_t end = std::min(to, from + items_at_once);
      values->run(from, end - from);
      for (int64_t item = from; item < end; ++item) {
        rows->run(item, 1);
        sums->run(item, 1);
      }
    }
  }
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

// Kernels that follow each other for each item by itself may share the start of their threads: see feed_forward_sums.
#pragma once

#include <cstdint>
#include <memory>

namespace xai_fast {
namespace XAI_FAST_ISA {

// What a kernel does for some of its items, on the thread that asks for it.
class ByItem {
 public:
  virtual ~ByItem() = default;
  virtual int64_t work_of_item() const = 0;  // in the entries that `useful_threads` counts
  virtual void run(int64_t first_item, int64_t items) const = 0;
};

// Whether a thread may take whole items without leaving others idle for long.
inline bool spread_evenly(int64_t items, int threads) { return items % threads == 0 || items >= 4 * threads; }

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

// Declares what makes it, for `Arguments` that stay where they are, in the namespace of the instruction set.
#define XAI_FAST_DECLARE_BY_ITEM(function, Arguments) \
  namespace xai_fast {                                \
  namespace XAI_FAST_ISA {                            \
  std::unique_ptr<ByItem> function(const Arguments&); \
  }                                                   \
  }

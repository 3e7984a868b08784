// What bindings ask of the indices of feed_forward_rows.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace xai_fast {

inline void check_range(const char* name, const int32_t* indices, int64_t count, int64_t begin, int64_t end) {
  for (int64_t at = 0; at < count; ++at) {
    if (indices[at] >= begin && indices[at] < end) continue;
    throw std::out_of_range(std::string(name) + ": expected an index from " + std::to_string(begin) + " to " +
                            std::to_string(end - 1) + ", got " + std::to_string(indices[at]) + " at position " +
                            std::to_string(at));
  }
}

inline void check_sets(const int32_t* pairs, int64_t pair_count, const int32_t* triples, const int32_t* triple_pairs,
                       int64_t triple_count, int64_t singles) {
  check_range("pairs", pairs, 2 * pair_count, 0, singles);
  check_range("triples", triples, 3 * triple_count, 0, singles);
  check_range("triple_pairs", triple_pairs, 3 * triple_count, singles, singles + pair_count);
}

}  // namespace xai_fast

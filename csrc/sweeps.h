// Sweeps over rows, spread over threads so that the result does not depend on how many there are: sums over a row are
// taken over chunks of fixed length and added in order.
#pragma once

#include <cstdint>
#include <memory>

namespace xai_fast {
namespace XAI_FAST_ISA {

constexpr int64_t chunk_entries = 4096;              // a multiple of every block of entries that kernels work in
constexpr int64_t entries_worth_a_thread = 1 << 14;  // below this, waking a thread costs more than the work

inline int64_t chunk_count(int64_t entries, int64_t chunk_length = chunk_entries) {
  return (entries + chunk_length - 1) / chunk_length;
}

inline int useful_threads(int threads, int64_t entries) {
  const int64_t useful = entries / entries_worth_a_thread + 1;
  return useful < threads ? static_cast<int>(useful) : threads;
}

// work(row, begin, end) for each chunk of each row.
template <class Work>
void one_sweep(const int64_t* rows, int64_t row_count, int64_t entries, int threads, Work work) {
  const int64_t chunks = chunk_count(entries);
#pragma omp parallel for collapse(2) num_threads(useful_threads(threads, row_count* entries)) schedule(static)
  for (int64_t i = 0; i < row_count; ++i) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      work(rows[i], chunk * chunk_entries, chunk + 1 < chunks ? (chunk + 1) * chunk_entries : entries);
    }
  }
}

// For each row: Sums total = the sum of first(row, begin, end, kept) over its chunks; then prepared = prepare(row,
// total); then second(row, begin, end, kept, prepared) for each chunk. Sums has operator+=; `kept` is what the first
// sweep of a chunk leaves to the second. In the end each thread calls finish().
template <class Sums, int64_t chunk_length, class Kept, class First, class Prepare, class Second, class Finish>
void two_sweeps(const int64_t* rows, int64_t row_count, int64_t entries, int threads, First first, Prepare prepare,
                Second second, Finish finish) {
  const int64_t chunks = chunk_count(entries, chunk_length);
  const auto end_of = [=](int64_t chunk) { return chunk + 1 < chunks ? (chunk + 1) * chunk_length : entries; };
  threads = useful_threads(threads, row_count * entries);
  if (threads == 1 || row_count >= 4 * threads) {  // whole rows: the second sweep finds the row in the thread's cache
#pragma omp parallel num_threads(threads)
    {
      const std::unique_ptr<Kept[]> kept(new Kept[chunks]);
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < row_count; ++i) {
        Sums total{};
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          total += first(rows[i], chunk * chunk_length, end_of(chunk), kept[chunk]);
        }
        const auto prepared = prepare(rows[i], total);
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          second(rows[i], chunk * chunk_length, end_of(chunk), kept[chunk], prepared);
        }
      }
      finish();
    }
    return;
  }
  const std::unique_ptr<Sums[]> partial(new Sums[chunks]);
  const std::unique_ptr<Kept[]> kept(new Kept[chunks]);
#pragma omp parallel num_threads(threads)
  {
    for (int64_t i = 0; i < row_count; ++i) {  // few rows: each by all threads, the same chunks to a thread both times
#pragma omp for schedule(static)
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        partial[chunk] = first(rows[i], chunk * chunk_length, end_of(chunk), kept[chunk]);
      }
      Sums total{};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
      const auto prepared = prepare(rows[i], total);
#pragma omp barrier  // prepare may read the row, which the second sweep changes
#pragma omp for schedule(static)
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        second(rows[i], chunk * chunk_length, end_of(chunk), kept[chunk], prepared);
      }
    }
    finish();
  }
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

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

// For each row: Sums total = the sum of first(row, begin, end) over its chunks; then prepared = prepare(row, total);
// then second(row, begin, end, prepared) for each chunk. Sums has operator+=.
template <class Sums, int64_t chunk_length = chunk_entries, class First, class Prepare, class Second>
void two_sweeps(const int64_t* rows, int64_t row_count, int64_t entries, int threads, First first, Prepare prepare,
                Second second) {
  const int64_t chunks = chunk_count(entries, chunk_length);
  const auto end_of = [=](int64_t chunk) { return chunk + 1 < chunks ? (chunk + 1) * chunk_length : entries; };
  threads = useful_threads(threads, row_count * entries);
  if (threads == 1 || row_count >= 4 * threads) {  // whole rows: the second sweep finds the row in the thread's cache
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < row_count; ++i) {
      Sums total{};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += first(rows[i], chunk * chunk_length, end_of(chunk));
      const auto prepared = prepare(rows[i], total);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        second(rows[i], chunk * chunk_length, end_of(chunk), prepared);
      }
    }
    return;
  }
  const std::unique_ptr<Sums[]> partial(new Sums[chunks]);
#pragma omp parallel num_threads(threads)
  for (int64_t i = 0; i < row_count; ++i) {  // few rows: each by all threads, the same chunks to a thread both times
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      partial[chunk] = first(rows[i], chunk * chunk_length, end_of(chunk));
    }
    Sums total{};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk];
    const auto prepared = prepare(rows[i], total);
#pragma omp barrier  // prepare may read the row, which the second sweep changes
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      second(rows[i], chunk * chunk_length, end_of(chunk), prepared);
    }
  }
}

// two_sweeps of many rows, where what the first leaves for the second is kept beside the row, and the second sweep of a
// row is done in the middle of the first one of the next: one computes while the other waits for memory.
// first(row, begin, end, kept, meanwhile) calls meanwhile(begin, end) for all the entries of its chunk, piece by piece,
// each before it changes what is kept of them, and second(row, begin, end, kept, prepared) works on such a piece;
// `kept` is that of the chunk. finish() is called by each thread.
template <class Sums, class Kept, int64_t chunk_length, class First, class Prepare, class Second, class Finish>
void two_sweeps_at_once(const int64_t* rows, int64_t row_count, int64_t entries, int threads, First first,
                        Prepare prepare, Second second, Finish finish) {
  const int64_t chunks = chunk_count(entries, chunk_length);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int part = 0; part < threads; ++part) {
    const int64_t from = row_count * part / threads, to = row_count * (part + 1) / threads;
    const std::unique_ptr<Kept[]> kept(new Kept[chunks]);
    decltype(prepare(0, Sums{})) prepared{};
    for (int64_t i = from; from < to && i <= to; ++i) {
      Sums total{};
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = chunk * chunk_length, end = chunk + 1 < chunks ? begin + chunk_length : entries;
        const auto second_of_last = [&](int64_t piece, int64_t piece_end) {
          second(rows[i - 1], piece, piece_end, kept[chunk], prepared);
        };
        if (i == from) {
          total += first(rows[i], begin, end, kept[chunk], [](int64_t, int64_t) {});
        } else if (i < to) {
          total += first(rows[i], begin, end, kept[chunk], second_of_last);
        } else {
          second_of_last(begin, end);
        }
      }
      if (i < to) prepared = prepare(rows[i], total);
    }
    finish();
  }
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

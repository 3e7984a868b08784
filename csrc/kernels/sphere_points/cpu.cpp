// First sweep: the radii and angles of Box-Muller, kept in the row itself, and norm(z)^2, which is the sum of the
// squared radii. Second sweep, while the row is in cache: x + radius / norm(z) * z. So the second sweep has arithmetic
// to do while it waits for the items, which come from memory.
#include "kernels/sphere_points/sphere_points.h"

#include <cmath>

#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

struct SumOfSquares {
  double value;
  void operator+=(SumOfSquares other) { value += other.value; }
};

// What is the same for all blocks of a row: counter (block, point, step, id / 2^32), key (seed, id mod 2^32).
struct Stream {
  uint32_t point, step, id_high, seed, id_low;
};

template <int N>
XAI_FAST_HD void random_words(const Stream& stream, const Word64 (&blocks)[N], Word64 (&words)[N][4]) {
  for (int n = 0; n < N; ++n) {
    words[n][0] = blocks[n];
    words[n][1] = PhiloxLanes::broadcast(stream.point);
    words[n][2] = PhiloxLanes::broadcast(stream.step);
    words[n][3] = PhiloxLanes::broadcast(stream.id_high);
  }
  philox4x32<PhiloxLanes>(words, stream.seed, stream.id_low);
}

// Normals in polar form: of the entries 4b, 4b+1 and of 4b+2, 4b+3, one block b a lane.
template <class Lanes>
struct PolarPairs {
  typename Lanes::Real radius[2];
  typename Lanes::Word angle[2];
};

// A group: consecutive blocks, one a lane. It makes the random words of two groups at a time, so that four counters go
// through Philox side by side, and puts normals in order.
struct FloatGroup {
  using Lanes = FloatLanes;
  static constexpr int blocks = lanes_32, entries = 4 * blocks;

  Word64 block[4];  // of the 64-bit lanes, dealt so that every shuffle stays within 128 bits

  explicit FloatGroup(uint32_t first) {
    constexpr int parts = lanes_32 / 4;
    for (int n = 0; n < 4; ++n) {
      for (int lane = 0; lane < lanes_64; ++lane) {
        block[n][lane] = first + n / 2 * blocks + parts * (n % 2 * 2 + lane % 2) + lane / 2;
      }
    }
  }

  XAI_FAST_HD void random(const Stream& stream, Word32 (*words)[4]) {
    Word64 wide[4][4];
    random_words(stream, block, wide);
    for (int word = 0; word < 4; ++word) {
      words[0][word] = even_words((Word32)wide[0][word], (Word32)wide[1][word]);
      words[1][word] = even_words((Word32)wide[2][word], (Word32)wide[3][word]);
    }
    for (int n = 0; n < 4; ++n) block[n] += 2 * blocks;
  }

  static XAI_FAST_HD void in_order(Float (&z)[4]) {
    const Float low_01 = interleave_low(z[0], z[1]), low_23 = interleave_low(z[2], z[3]);
    const Float high_01 = interleave_high(z[0], z[1]), high_23 = interleave_high(z[2], z[3]);
    z[0] = low_pairs(low_01, low_23);
    z[1] = high_pairs(low_01, low_23);
    z[2] = low_pairs(high_01, high_23);
    z[3] = high_pairs(high_01, high_23);
  }
};

struct DoubleGroup {
  using Lanes = DoubleLanes;
  static constexpr int blocks = lanes_64, entries = 4 * blocks;

  Word64 block[2];

  explicit DoubleGroup(uint32_t first) {
    for (int n = 0; n < 2; ++n) {
      for (int lane = 0; lane < lanes_64; ++lane) block[n][lane] = first + n * blocks + lane;
    }
  }

  XAI_FAST_HD void random(const Stream& stream, Word64 (*words)[4]) {
    Word64 wide[2][4];
    random_words(stream, block, wide);
    std::memcpy(words, wide, sizeof wide);
    for (int n = 0; n < 2; ++n) block[n] += 2 * blocks;
  }

  static XAI_FAST_HD void in_order(Double (&z)[4]) {
    double ordered[entries];
    for (int lane = 0; lane < lanes_64; ++lane) {
      for (int k = 0; k < 4; ++k) ordered[4 * lane + k] = z[k][lane];
    }
    std::memcpy(z, ordered, sizeof ordered);
  }
};

template <class Lanes>
XAI_FAST_HD void to_polar(const typename Lanes::Word (&words)[4], PolarPairs<Lanes>& pairs) {
  for (int pair = 0; pair < 2; ++pair) {
    pairs.radius[pair] = rayleigh<Lanes>(words[2 * pair]);
    pairs.angle[pair] = words[2 * pair + 1];
  }
}

template <class Group>
XAI_FAST_HD void normals(const PolarPairs<typename Group::Lanes>& pairs, typename Group::Lanes::Real (&z)[4]) {
  for (int pair = 0; pair < 2; ++pair) {
    polar<typename Group::Lanes>(pairs.radius[pair], pairs.angle[pair], z[2 * pair], z[2 * pair + 1]);
  }
  Group::in_order(z);
}

// The normals of the last entries of a row, fewer than a group has.
template <class Group, class Scalar>
void last_normals(const Stream& stream, int64_t begin, Scalar (&z)[Group::entries]) {
  typename Group::Lanes::Word words[2][4];
  PolarPairs<typename Group::Lanes> pairs;
  typename Group::Lanes::Real ordered[4];
  Group group(static_cast<uint32_t>(begin / 4));
  group.random(stream, words);
  to_polar<typename Group::Lanes>(words[0], pairs);
  normals<Group>(pairs, ordered);
  std::memcpy(z, ordered, sizeof ordered);
}

// Writes the polar form of the entries begin..end-1, whole groups only, and returns the sum of all their squares.
template <class Group, class Scalar>
SumOfSquares write_polar(const Stream& stream, Scalar* row, int64_t begin, int64_t end) {
  using Lanes = typename Group::Lanes;
  // Many times the random words, then many times their radii: either alone is so short that the processor works on
  // several at a time, both together are not.
  constexpr int64_t tile = 64;
  typename Lanes::Word words[tile][4];
  Group group(static_cast<uint32_t>(begin / 4));
  const int64_t whole = (end - begin) / Group::entries;
  Double sums{};
  for (int64_t done = 0; done < whole; done += tile) {
    const int64_t count = whole - done < tile ? whole - done : tile;
    Scalar* to = row + begin + done * Group::entries;
    for (int64_t k = 0; k < count; k += 2) {
      group.random(stream, words + k);
      fetch<for_writing>(to + k * Group::entries, 2 * Group::entries);
    }
    typename Lanes::Real squares{};  // of a tile; tiles are added in double
    for (int64_t k = 0; k < count; ++k) {
      PolarPairs<Lanes> pairs;
      to_polar<Lanes>(words[k], pairs);
      squares += pairs.radius[0] * pairs.radius[0] + pairs.radius[1] * pairs.radius[1];
      std::memcpy(to + k * Group::entries, &pairs, sizeof pairs);
    }
    sums += in_double(squares);
  }
  double sum = 0;
  for (int lane = 0; lane < lanes_64; ++lane) sum += sums[lane];
  const int64_t last = begin + whole * Group::entries;
  if (last < end) {
    Scalar z[Group::entries];
    last_normals<Group>(stream, last, z);
    for (int64_t k = 0; k < end - last; ++k) sum += static_cast<double>(z[k]) * z[k];
  }
  return {sum};
}

// Replaces the polar form of the entries begin..end-1 by the points.
template <class Group, class Scalar>
void write_points(const Stream& stream, Scalar* row, const Scalar* center, int64_t begin, int64_t end, Scalar scale) {
  using Lanes = typename Group::Lanes;
  using Real = typename Lanes::Real;
  constexpr int64_t ahead = 8 * Group::entries;
  int64_t entry = begin;
  for (; entry + Group::entries <= end; entry += Group::entries) {
    PolarPairs<Lanes> pairs;
    Real z[4];
    std::memcpy(&pairs, row + entry, sizeof pairs);
    fetch<for_reading>(center + entry + ahead, Group::entries);
    normals<Group>(pairs, z);
    for (int k = 0; k < 4; ++k) {
      const int64_t at = entry + k * (Group::entries / 4);
      store(row + at, z[k] * scale + load<Real>(center + at));
    }
  }
  if (entry < end) {
    Scalar z[Group::entries];
    last_normals<Group>(stream, entry, z);
    for (int64_t k = 0; k < end - entry; ++k) row[entry + k] = center[entry + k] + scale * z[k];
  }
}

template <class Group>
void sphere_points_of(const SpherePoints& arguments) {
  using Scalar = typename Group::Lanes::Scalar;
  static_assert(chunk_entries % Group::entries == 0, "only a row's last group may be incomplete");
  const int64_t entries = arguments.entries;
  Scalar* points = static_cast<Scalar*>(arguments.points);
  const Scalar* centers = static_cast<const Scalar*>(arguments.centers);
  const auto stream_of = [&](int64_t row) {
    const uint64_t id = static_cast<uint64_t>(arguments.item_ids[arguments.item[row]]);
    return Stream{static_cast<uint32_t>(arguments.point[row]), arguments.step, static_cast<uint32_t>(id >> 32),
                  arguments.seed, static_cast<uint32_t>(id)};
  };
  two_sweeps<SumOfSquares>(
      arguments.active_rows, arguments.active_count, entries, arguments.threads,
      [&](int64_t row, int64_t begin, int64_t end) {
        return write_polar<Group>(stream_of(row), points + row * entries, begin, end);
      },
      [&](int64_t, SumOfSquares sum) { return static_cast<Scalar>(arguments.radius / std::sqrt(sum.value)); },
      [&](int64_t row, int64_t begin, int64_t end, Scalar scale) {
        write_points<Group>(stream_of(row), points + row * entries, centers + arguments.item[row] * entries, begin, end,
                            scale);
      });
}

}  // namespace

void sphere_points(const SpherePoints& arguments) {
  if (arguments.dtype == Dtype::float32) {
    sphere_points_of<FloatGroup>(arguments);
  } else {
    sphere_points_of<DoubleGroup>(arguments);
  }
}

bool philox_block(const PhiloxBlock& arguments) {
  Word64 words[1][4];
  for (int word = 0; word < 4; ++word) words[0][word] = PhiloxLanes::broadcast(arguments.counter[word]);
  philox4x32<PhiloxLanes>(words, arguments.key_0, arguments.key_1);
  bool agree = true;
  for (int word = 0; word < 4; ++word) {
    arguments.counter[word] = static_cast<uint32_t>(words[0][word][0]);
    for (int lane = 0; lane < lanes_64; ++lane) {
      agree = agree && static_cast<uint32_t>(words[0][word][lane]) == arguments.counter[word];
    }
  }
  return agree;
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

// First sweep: the normals z and norm(z)^2, which is the sum of the squared radii of Box-Muller. Second sweep:
// x + radius / norm(z) * z. The first computes, the second waits for memory; so where there is enough to do, the second
// sweep of a row is done in the middle of the first one of the next row.
#include "kernels/sphere_points/sphere_points.h"

#include <cmath>

#include "simd.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

constexpr int64_t tile = 1024;                  // entries; their random words and radii stay in the first cache
constexpr int64_t bytes_ahead = 4096;           // to ask for centers; beyond the next page it costs more than it gains
constexpr int64_t bytes_past_cache = 16 << 20;  // of points; more than that do not wait in the cache for their reader

struct SumOfSquares {
  Double lanes{};
  void operator+=(const SumOfSquares& other) { lanes += other.lanes; }
  double total() const {
    double sum = 0;
    for (int lane = 0; lane < lanes_64; ++lane) sum += lanes[lane];
    return sum;
  }
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

// A group: as many blocks as there are 64-bit lanes, in the order that its shuffles want, and their entries. Each word
// of a block gives the entries of a pair.
struct FloatGroup {
  using Lanes = FloatLanes;
  static constexpr int blocks = lanes_64, entries = 8 * blocks, vectors = 2;

  // Of the two halves of a block, which are four entries or 128 bits each, the first ones of the low lanes of even
  // parts have to end up in the even parts of the first vector of points, and so on.
  static Word64 dealt() {
    constexpr int parts = lanes_64 / 2;
    Word64 block{};
    for (int lane = 0; lane < lanes_64; ++lane) {
      const int part = lane / 2, side = lane % 2;
      block[lane] = parts == 1 ? lane : part % 2 * parts + part / 2 + side * (parts / 2);
    }
    return block;
  }

  static XAI_FAST_HD void pair(const Word64 (&words)[4], Word32 (&pairs)[vectors]) {
    const Word64 first_half = (words[0] & 0xffffffffu) | (words[1] << 32);
    const Word64 second_half = (words[2] & 0xffffffffu) | (words[3] << 32);
    pairs[0] = (Word32)even_parts(first_half, second_half);
    pairs[1] = (Word32)odd_parts(first_half, second_half);
  }

  static XAI_FAST_HD void put(int vector, Float x, Float y, float* z) {
    store(z + 2 * vector * lanes_32, interleave_low(x, y));
    store(z + (2 * vector + 1) * lanes_32, interleave_high(x, y));
  }
};

struct DoubleGroup {
  using Lanes = DoubleLanes;
  static constexpr int blocks = lanes_64, entries = 8 * blocks, vectors = 4;

  static Word64 dealt() {
    Word64 block{};
    for (int lane = 0; lane < lanes_64; ++lane) block[lane] = lane;
    return block;
  }

  static XAI_FAST_HD void pair(const Word64 (&words)[4], Word64 (&pairs)[vectors]) {
    std::memcpy(pairs, words, sizeof pairs);
  }

  static XAI_FAST_HD void put(int vector, Double x, Double y, double* z) {
    for (int lane = 0; lane < lanes_64; ++lane) {
      z[8 * lane + 2 * vector] = x[lane];
      z[8 * lane + 2 * vector + 1] = y[lane];
    }
  }
};

// The first `count` normals of a group; returns the sum of their squares.
template <class Group, class Scalar>
double write_rest(const typename Group::Lanes::Word (&pairs)[Group::vectors], int count, Scalar* z) {
  Scalar all[Group::entries];
  for (int vector = 0; vector < Group::vectors; ++vector) {
    typename Group::Lanes::Real x, y;
    box_muller<typename Group::Lanes>(pairs[vector], x, y);
    Group::put(vector, x, y, all);
  }
  std::memcpy(z, all, count * sizeof(Scalar));
  double sum = 0;
  for (int k = 0; k < count; ++k) sum += static_cast<double>(all[k]) * all[k];
  return sum;
}

constexpr int side_by_side = 4;  // groups that go through Philox together

// The pairs of `count` groups from `block` on; calls meanwhile() once for every few of them.
template <class Group, class Meanwhile>
XAI_FAST_HD void draw_pairs(const Stream& stream, int64_t block, int count,
                            typename Group::Lanes::Word (*pairs)[Group::vectors], Meanwhile meanwhile) {
  Word64 blocks[side_by_side];
  for (int n = 0; n < side_by_side; ++n) blocks[n] = Group::dealt() + (block + n * Group::blocks);
  for (int group = 0; group < count; group += side_by_side) {
    meanwhile();
    Word64 words[side_by_side][4];
    random_words(stream, blocks, words);
    for (int n = 0; n < side_by_side; ++n) {
      Group::pair(words[n], pairs[group + n]);
      blocks[n] += side_by_side * Group::blocks;
    }
  }
}

// Writes the normals of the entries begin..end-1, at most a tile, to z, and returns the sum of their squares. On the
// way it calls meanwhile(begin, end) for all of these entries, piece by piece, each before it writes to them.
template <class Group, class Scalar, class Meanwhile>
SumOfSquares write_normals(const Stream& stream, int64_t begin, int64_t end, Scalar* z, Meanwhile meanwhile) {
  using Lanes = typename Group::Lanes;
  // Many times the random words, then many times the radii, then the angles: one of these is so short that the
  // processor works on several at a time; all of them together are not. What is done meanwhile is spread over all
  // three, because a store to the cache has to wait for the stores to memory before it.
  constexpr int groups = tile / Group::entries, quarter = Group::entries / 4;
  static_assert(groups % side_by_side == 0, "a tile is made of whole groups, drawn side by side");
  typename Lanes::Word pairs[groups][Group::vectors];
  typename Lanes::Real radii[groups][Group::vectors], squares{};
  const int whole = static_cast<int>((end - begin) / Group::entries);
  const int rest = static_cast<int>(end - begin) - whole * Group::entries;
  int64_t next = begin;
  const auto go_on = [&](int64_t to) {
    meanwhile(next, to);
    next = to;
  };
  draw_pairs<Group>(stream, begin / 8, whole + (rest > 0), pairs, [&] {
    const int64_t half = next + side_by_side * Group::entries / 2;
    go_on(half < end ? half : end);
  });
  for (int group = 0; group < whole; ++group) {
    for (int vector = 0; vector < Group::vectors; ++vector) {
      const auto square = minus_two_log<Lanes>(pairs[group][vector]);
      squares += square;
      radii[group][vector] = Lanes::square_root(square);
    }
    if (next + quarter <= end) go_on(next + quarter);
  }
  for (int group = 0; group < whole; ++group) {
    if (next + quarter <= end) go_on(next + quarter);
    for (int vector = 0; vector < Group::vectors; ++vector) {
      typename Lanes::Real x, y;
      polar<Lanes>(radii[group][vector], pairs[group][vector], x, y);
      Group::put(vector, x, y, z + group * Group::entries);
    }
  }
  SumOfSquares sum{in_double(squares)};
  if (next < end) go_on(end);
  if (rest > 0) sum.lanes[0] += write_rest<Group>(pairs[whole], rest, z + whole * Group::entries);
  return sum;
}

enum class Store { in_cache, past_cache };

// points = center + scale * z for `count` entries; z may be where the points are.
template <Store how, class Real, class Scalar>
XAI_FAST_HD void write_points(Scalar* points, const Scalar* z, const Scalar* center, int64_t count, Scalar scale) {
  constexpr int lanes = vector_bytes / sizeof(Scalar), block = 8 * lanes;
  const auto write_vector = [=](int64_t k) {
    const Real point = load<Real>(z + k) * scale + load<Real>(center + k);
    if (how == Store::past_cache) {
      store_past_cache(points + k, point);
    } else {
      store(points + k, point);
    }
  };
  constexpr int64_t ahead = bytes_ahead / sizeof(Scalar);
  int64_t k = 0;
  for (; k + block <= count; k += block) {  // of a length that the compiler knows: no jump that may be guessed wrong
    fetch<for_reading>(center + k + ahead, block);
#pragma GCC unroll 8
    for (int vector = 0; vector < 8; ++vector) write_vector(k + vector * lanes);
  }
  for (; k + lanes <= count; k += lanes) {
    fetch<for_reading>(center + k + ahead, lanes);
    write_vector(k);
  }
  const int rest = static_cast<int>(count - k);
  for (int last = 0; last < rest; ++last) points[k + last] = center[k + last] + scale * z[k + last];
}

template <class Group>
void sphere_points_of(const SpherePoints& arguments) {
  using Scalar = typename Group::Lanes::Scalar;
  using Real = typename Group::Lanes::Real;
  struct Normals {
    alignas(vector_bytes) Scalar z[tile];
  };
  const int64_t entries = arguments.entries, rows = arguments.active_count;
  Scalar* points = static_cast<Scalar*>(arguments.points);
  const auto center_of = [&](int64_t row) {
    return static_cast<const Scalar*>(arguments.centers) + arguments.item[row] * entries;
  };
  const auto stream_of = [&](int64_t row) {
    const uint64_t id = static_cast<uint64_t>(arguments.item_ids[arguments.item[row]]);
    return Stream{static_cast<uint32_t>(arguments.point[row]), arguments.step, static_cast<uint32_t>(id >> 32),
                  arguments.seed, static_cast<uint32_t>(id)};
  };
  const auto scale_of = [&](int64_t, const SumOfSquares& sum) {
    return static_cast<Scalar>(arguments.radius / std::sqrt(sum.total()));
  };
  const int64_t row_bytes = entries * static_cast<int64_t>(sizeof(Scalar));
  const bool aligned = (reinterpret_cast<uintptr_t>(points) | row_bytes) % vector_bytes == 0;
  if (aligned && rows * row_bytes >= bytes_past_cache && rows >= 4 * arguments.threads) {
    two_sweeps_at_once<SumOfSquares, Normals, tile>(
        arguments.active_rows, rows, entries, arguments.threads,
        [&](int64_t row, int64_t begin, int64_t end, Normals& normals, auto meanwhile) {
          return write_normals<Group>(stream_of(row), begin, end, normals.z, meanwhile);
        },
        scale_of,
        [&](int64_t row, int64_t begin, int64_t end, const Normals& normals, Scalar scale) {
          write_points<Store::past_cache, Real>(points + row * entries + begin, normals.z + begin % tile,
                                                center_of(row) + begin, end - begin, scale);
        },
        settle);
    return;
  }
  two_sweeps<SumOfSquares, tile>(
      arguments.active_rows, rows, entries, arguments.threads,
      [&](int64_t row, int64_t begin, int64_t end) {
        Scalar* z = points + row * entries;
        return write_normals<Group>(stream_of(row), begin, end, z + begin, [z](int64_t piece, int64_t piece_end) {
          fetch<for_writing>(z + piece, static_cast<int>(piece_end - piece));
        });
      },
      scale_of,
      [&](int64_t row, int64_t begin, int64_t end, Scalar scale) {
        Scalar* z = points + row * entries + begin;
        write_points<Store::in_cache, Real>(z, z, center_of(row) + begin, end - begin, scale);
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

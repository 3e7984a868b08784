// First sweep: the random words, which are kept, and norm(z)^2 of their normals z, which is the sum of the squared
// radii of Box-Muller and takes one logarithm for several. Second sweep: the normals from the words, and x + radius /
// norm(z) * z, which waits for memory between. The limit is arithmetic: it takes longer than a copy of the same bytes.
// A box and normal points need no norm, and are one sweep.
#include "kernels/random_points/random_points.h"

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

  static XAI_FAST_HD void put(int vector, Float x, Float y, Float (&z)[2 * vectors]) {
    z[2 * vector] = interleave_low(x, y);
    z[2 * vector + 1] = interleave_high(x, y);
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

  static XAI_FAST_HD void put(int vector, Double x, Double y, Double (&z)[2 * vectors]) {
    for (int lane = 0; lane < lanes_64; ++lane) {
      const int entry = 8 * lane + 2 * vector;
      z[entry / lanes_64][entry % lanes_64] = x[lane];
      z[(entry + 1) / lanes_64][(entry + 1) % lanes_64] = y[lane];
    }
  }
};

constexpr int side_by_side = 4;  // groups that go through Philox together, and uniforms under one logarithm

// The random words of a tile.
template <class Group>
struct TileWords {
  static constexpr int groups = tile / Group::entries;
  static_assert(groups % side_by_side == 0, "a tile is made of whole groups, drawn side by side");
  typename Group::Lanes::Word pairs[groups][Group::vectors];
};

constexpr double box_step = 1.0 / 65536;  // a uniform number on [-1, 1] is an odd multiple of it

// The normals of a group, in order, or its uniform numbers in units of `box_step`.
template <class Group, bool box>
XAI_FAST_HD void numbers_of(const typename Group::Lanes::Word (&pairs)[Group::vectors],
                            typename Group::Lanes::Real (&z)[2 * Group::vectors]) {
  using Lanes = typename Group::Lanes;
  for (int vector = 0; vector < Group::vectors; ++vector) {
    typename Lanes::Real x, y;
    if constexpr (box) {
      x = uniform_of_radius<Lanes>(pairs[vector]) - 65536;
      y = uniform_of_radius<Lanes>(pairs[vector] << 16) - 65536;
    } else {
      box_muller<Lanes>(pairs[vector], x, y);
    }
    Group::put(vector, x, y, z);
  }
}

// Draws the words of the entries begin..end-1, at most a tile, and returns the sum of the squares of their normals if
// it is wanted.
template <class Group, bool sum_wanted>
SumOfSquares draw(const Stream& stream, int64_t begin, int64_t end, TileWords<Group>& words) {
  using Lanes = typename Group::Lanes;
  using Real = typename Lanes::Real;
  Word64 blocks[side_by_side];
  for (int n = 0; n < side_by_side; ++n) blocks[n] = Group::dealt() + (begin / 8 + n * Group::blocks);
  const int whole = static_cast<int>((end - begin) / Group::entries);
  const int rest = static_cast<int>(end - begin) - whole * Group::entries;
  Real squares{};
  for (int group = 0; group < whole + (rest > 0); group += side_by_side) {
    Word64 drawn[side_by_side][4];
    random_words(stream, blocks, drawn);
    for (int n = 0; n < side_by_side; ++n) {
      Group::pair(drawn[n], words.pairs[group + n]);
      blocks[n] += side_by_side * Group::blocks;
    }
    for (int vector = 0; sum_wanted && vector < Group::vectors; ++vector) {
      Real product = Real{} + 1;
      if (group + side_by_side <= whole) {
        for (int n = 0; n < side_by_side; ++n) product *= uniform_of_radius<Lanes>(words.pairs[group + n][vector]);
        squares += minus_two_log<Lanes, side_by_side>(product);
      } else {
        for (int n = group; n < whole; ++n) {
          squares += minus_two_log<Lanes>(uniform_of_radius<Lanes>(words.pairs[n][vector]));
        }
      }
    }
  }
  SumOfSquares sum{in_double(squares)};
  if (sum_wanted && rest > 0) {
    Real normals[2 * Group::vectors];
    numbers_of<Group, false>(words.pairs[whole], normals);
    typename Lanes::Scalar z[Group::entries];
    std::memcpy(z, normals, sizeof z);
    for (int k = 0; k < rest; ++k) sum.lanes[0] += static_cast<double>(z[k]) * z[k];
  }
  return sum;
}

enum class Store { in_cache, past_cache };

// points = center + scale * z for `count` entries, at most a tile.
template <class Group, bool box, Store how, class Scalar>
void write_points(Scalar* points, const TileWords<Group>& words, const Scalar* center, int count, Scalar scale) {
  using Real = typename Group::Lanes::Real;
  constexpr int lanes = vector_bytes / sizeof(Scalar), ahead = bytes_ahead / sizeof(Scalar);
  const int whole = count / Group::entries;
  Real z[2 * Group::vectors];
  for (int group = 0; group < whole; ++group, points += Group::entries, center += Group::entries) {
    fetch<for_reading>(center + ahead, Group::entries);
    numbers_of<Group, box>(words.pairs[group], z);
#pragma GCC unroll 8
    for (int vector = 0; vector < 2 * Group::vectors; ++vector) {
      const Real point = z[vector] * scale + load<Real>(center + vector * lanes);
      if (how == Store::past_cache) {
        store_past_cache(points + vector * lanes, point);
      } else {
        store(points + vector * lanes, point);
      }
    }
  }
  if (const int rest = count - whole * Group::entries) {
    Scalar last[Group::entries];
    numbers_of<Group, box>(words.pairs[whole], z);
    std::memcpy(last, z, sizeof last);
    for (int k = 0; k < rest; ++k) points[k] = center[k] + scale * last[k];
  }
}

template <class Group, bool box>
void random_points_of(const RandomPoints& arguments) {
  using Scalar = typename Group::Lanes::Scalar;
  const int64_t entries = arguments.entries, rows = arguments.active_count;
  Scalar* points = static_cast<Scalar*>(arguments.points);
  const int64_t row_bytes = entries * static_cast<int64_t>(sizeof(Scalar));
  const bool aligned = (reinterpret_cast<uintptr_t>(points) | row_bytes) % vector_bytes == 0;
  const auto write_tile = aligned && rows * row_bytes >= bytes_past_cache
                              ? write_points<Group, box, Store::past_cache, Scalar>
                              : write_points<Group, box, Store::in_cache, Scalar>;
  const auto stream_of = [&](int64_t row) {
    const uint64_t id = static_cast<uint64_t>(arguments.item_ids[arguments.item[row]]);
    return Stream{static_cast<uint32_t>(arguments.point[row]), arguments.step, static_cast<uint32_t>(id >> 32),
                  arguments.seed, static_cast<uint32_t>(id)};
  };
  const auto write = [&](int64_t row, int64_t begin, int64_t end, const TileWords<Group>& words, Scalar scale) {
    const Scalar* center = static_cast<const Scalar*>(arguments.centers) + arguments.item[row] * entries;
    write_tile(points + row * entries + begin, words, center + begin, static_cast<int>(end - begin), scale);
  };
  if (!box && arguments.kind == PointsKind::sphere) {
    two_sweeps<SumOfSquares, tile, TileWords<Group>>(
        arguments.active_rows, rows, entries, arguments.threads,
        [&](int64_t row, int64_t begin, int64_t end, TileWords<Group>& words) {
          return draw<Group, true>(stream_of(row), begin, end, words);
        },
        [&](int64_t, const SumOfSquares& sum) {
          return static_cast<Scalar>(arguments.radius / std::sqrt(sum.total()));
        },
        write, settle);
    return;
  }
  const Scalar scale = static_cast<Scalar>(box ? arguments.radius * box_step : arguments.radius);
  one_sweep(arguments.active_rows, rows, entries, arguments.threads, [&](int64_t row, int64_t begin, int64_t end) {
    TileWords<Group> words;
    for (; begin < end; begin += tile) {
      const int64_t stop = begin + tile < end ? begin + tile : end;
      draw<Group, false>(stream_of(row), begin, stop, words);
      write(row, begin, stop, words, scale);
    }
    settle();
  });
}

template <class Group>
void random_points_of_kind(const RandomPoints& arguments) {
  if (arguments.kind == PointsKind::box) {
    random_points_of<Group, true>(arguments);
  } else {
    random_points_of<Group, false>(arguments);
  }
}

}  // namespace

void random_points(const RandomPoints& arguments) {
  if (arguments.dtype == Dtype::float32) {
    random_points_of_kind<FloatGroup>(arguments);
  } else {
    random_points_of_kind<DoubleGroup>(arguments);
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

// SIMD lanes as GCC and clang vectors, as wide as the instruction set that this file is compiled for (isa.h). They have
// the members that philox.h and normal.h ask of a Lane; on other processors the compiler maps them to what there is.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "normal.h"
#include "philox.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace xai_fast {
namespace XAI_FAST_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

typedef uint32_t Word32 __attribute__((vector_size(vector_bytes)));
typedef uint64_t Word64 __attribute__((vector_size(vector_bytes)));
typedef int32_t Int32 __attribute__((vector_size(vector_bytes)));
typedef int64_t Int64 __attribute__((vector_size(vector_bytes)));
typedef float Float __attribute__((vector_size(vector_bytes)));
typedef double Double __attribute__((vector_size(vector_bytes)));
constexpr int lanes_32 = vector_bytes / 4, lanes_64 = vector_bytes / 8;

// Random words in the low halves of 64-bit lanes: the instruction that multiplies to 64 bits reads just these, and its
// result needs no unpacking. The high halves hold rubbish.
struct PhiloxLanes {
  using Word = Word64;
  static XAI_FAST_HD Word broadcast(uint32_t word) { return Word{} + word; }
  static XAI_FAST_HD Product<Word> multiply(uint32_t constant, Word word) {
#if defined(__AVX512F__)
    const Word product = (Word)_mm512_mul_epu32((__m512i)word, _mm512_set1_epi64(constant));
#elif defined(__AVX2__)
    const Word product = (Word)_mm256_mul_epu32((__m256i)word, _mm256_set1_epi64x(constant));
#elif defined(__SSE2__)
    const Word product = (Word)_mm_mul_epu32((__m128i)word, _mm_set1_epi64x(constant));
#else
    const Word product = (word & 0xffffffffu) * constant;
#endif
    return {product >> 32, product};
  }
};

struct FloatLanes {
  using Scalar = float;
  using Real = Float;
  using Word = Word32;
  using Int = Int32;
  static XAI_FAST_HD Real convert(Int value) { return __builtin_convertvector(value, Real); }
  static XAI_FAST_HD Real real_of(Word bits) { return (Real)bits; }
  static XAI_FAST_HD Word bits_of(Real value) { return (Word)value; }
  static XAI_FAST_HD Real square_root(Real value) {
#if defined(__AVX512F__)
    return (Real)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX2__)
    return (Real)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE2__)
    return (Real)_mm_sqrt_ps((__m128)value);
#else
    for (int lane = 0; lane < lanes_32; ++lane) value[lane] = std::sqrt(value[lane]);
    return value;
#endif
  }
};

struct DoubleLanes {
  using Scalar = double;
  using Real = Double;
  using Word = Word64;
  using Int = Int64;
  // Adding 1.5 * 2^52 to the bits puts a small integer into the mantissa; AVX2 has no conversion from 64 bits.
  static XAI_FAST_HD Real convert(Int value) { return (Real)(value + 0x4338000000000000) - 6755399441055744.0; }
  static XAI_FAST_HD Real real_of(Word bits) { return (Real)bits; }
  static XAI_FAST_HD Word bits_of(Real value) { return (Word)value; }
  static XAI_FAST_HD Real square_root(Real value) {
    for (int lane = 0; lane < lanes_64; ++lane) value[lane] = std::sqrt(value[lane]);
    return value;
  }
};

// Shuffles of two vectors; lanes of the second are counted on after those of the first.
#if defined(__clang__) || __GNUC__ >= 12
#define XAI_FAST_SHUFFLE(Index, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define XAI_FAST_SHUFFLE(Index, a, b, ...) __builtin_shuffle(a, b, Index{__VA_ARGS__})
#endif

// Alternating lanes: within each part of 128 bits those of its low or high half, as the processors have it.
#define XAI_FAST_LOW(part) 4 * part, lanes_32 + 4 * part, 4 * part + 1, lanes_32 + 4 * part + 1
#define XAI_FAST_HIGH(part) 4 * part + 2, lanes_32 + 4 * part + 2, 4 * part + 3, lanes_32 + 4 * part + 3
#if defined(__AVX512F__)
#define XAI_FAST_ALL_PARTS(Pattern) Pattern(0), Pattern(1), Pattern(2), Pattern(3)
#elif defined(__AVX2__)
#define XAI_FAST_ALL_PARTS(Pattern) Pattern(0), Pattern(1)
#else
#define XAI_FAST_ALL_PARTS(Pattern) Pattern(0)
#endif
XAI_FAST_HD Float interleave_low(Float a, Float b) {
  return XAI_FAST_SHUFFLE(Int32, a, b, XAI_FAST_ALL_PARTS(XAI_FAST_LOW));
}
XAI_FAST_HD Float interleave_high(Float a, Float b) {
  return XAI_FAST_SHUFFLE(Int32, a, b, XAI_FAST_ALL_PARTS(XAI_FAST_HIGH));
}

// The even or the odd parts of 128 bits of two vectors in turn; of vectors that are one part, halves of it.
XAI_FAST_HD Word64 even_parts(Word64 a, Word64 b) {
#if defined(__AVX512F__)
  return XAI_FAST_SHUFFLE(Int64, a, b, 0, 1, 8, 9, 4, 5, 12, 13);
#elif defined(__AVX2__)
  return XAI_FAST_SHUFFLE(Int64, a, b, 0, 1, 4, 5);
#else
  return XAI_FAST_SHUFFLE(Int64, a, b, 0, 2);
#endif
}
XAI_FAST_HD Word64 odd_parts(Word64 a, Word64 b) {
#if defined(__AVX512F__)
  return XAI_FAST_SHUFFLE(Int64, a, b, 2, 3, 10, 11, 6, 7, 14, 15);
#elif defined(__AVX2__)
  return XAI_FAST_SHUFFLE(Int64, a, b, 2, 3, 6, 7);
#else
  return XAI_FAST_SHUFFLE(Int64, a, b, 1, 3);
#endif
}

// Sums of one or two lanes each, for adding up in double.
XAI_FAST_HD Double in_double(Double value) { return value; }
XAI_FAST_HD Double in_double(Float value) {
  typedef float Half __attribute__((vector_size(vector_bytes / 2)));
  Half halves[2];
  std::memcpy(halves, &value, sizeof value);
  return __builtin_convertvector(halves[0], Double) + __builtin_convertvector(halves[1], Double);
}

// The sum of a vector's lanes, those of different parts of 128 bits added first.
template <class Scalar>
double lane_sum(Scalar, const void* vector) {
  typedef Scalar Quarter __attribute__((vector_size(16)));
  Quarter parts[vector_bytes / 16];
  std::memcpy(parts, vector, vector_bytes);
  for (int step = vector_bytes / 32; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) parts[i] += parts[i + step];
  }
  double sum = 0;
  for (size_t lane = 0; lane < 16 / sizeof(Scalar); ++lane) sum += static_cast<double>(parts[0][lane]);
  return sum;
}

// Asks for lines of memory that will be needed soon; what is behind the end of a tensor may be asked for too.
enum Purpose { for_reading = 0, for_writing = 1 };
template <Purpose purpose, class Scalar>
XAI_FAST_HD void fetch(const Scalar* from, int entries) {
  const char* address = reinterpret_cast<const char*>(from);
  for (size_t line = 0; line < entries * sizeof(Scalar); line += 64) __builtin_prefetch(address + line, purpose, 2);
}

template <class Vector, class Scalar>
XAI_FAST_HD Vector load(const Scalar* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class Vector, class Scalar>
XAI_FAST_HD void store(Scalar* to, Vector vector) {
  std::memcpy(to, &vector, sizeof vector);
}

// A value that is used several times: without this the compiler may read it from memory for each use.
template <class Real>
XAI_FAST_HD Real in_register(Real value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value));
#elif defined(__SSE2__)
  asm("" : "+x"(value));
#endif
  return value;
}

// Writes to an aligned address without reading the line first and without a place in the cache, for tensors that are
// larger than it. At its end a thread has to call `settle`, before others may read.
template <class Vector, class Scalar>
XAI_FAST_HD void store_past_cache(Scalar* to, Vector vector) {
#if defined(__AVX512F__)
  _mm512_stream_si512((__m512i*)to, (__m512i)vector);
#elif defined(__AVX2__)
  _mm256_stream_si256((__m256i*)to, (__m256i)vector);
#elif defined(__SSE2__)
  _mm_stream_si128((__m128i*)to, (__m128i)vector);
#else
  store(to, vector);
#endif
}
XAI_FAST_HD void settle() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

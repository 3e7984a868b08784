// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 and table 2).
//
// One text for scalars, SIMD lanes and GPU threads: a Lane has
//   Word                        a 32-bit word, or a vector with one in each lane (higher bits of a lane are ignored);
//   broadcast(uint32_t)         the same word in every lane;
//   multiply(uint32_t, Word)    the 64-bit product as Product<Word>{high, low}.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace xai_fast {

template <class Word>
struct Product {
  Word high, low;
};

struct ScalarPhilox {
  using Word = uint32_t;
  static XAI_FAST_HD Word broadcast(uint32_t word) { return word; }
  static XAI_FAST_HD Product<Word> multiply(uint32_t constant, Word word) {
    const uint64_t product = static_cast<uint64_t>(constant) * word;
    return {static_cast<Word>(product >> 32), static_cast<Word>(product)};
  }
};

// Replaces each of N counters by four random words. The counters go through the rounds side by side, because one alone
// is a chain of instructions of which each waits for the one before.
template <class Lane, int N>
XAI_FAST_HD void philox4x32(typename Lane::Word (&counters)[N][4], uint32_t key_0, uint32_t key_1) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      typename Lane::Word(&counter)[4] = counters[n];
      const Product<typename Lane::Word> first = Lane::multiply(0xD2511F53u, counter[0]);
      const Product<typename Lane::Word> second = Lane::multiply(0xCD9E8D57u, counter[2]);
      counter[0] = second.high ^ counter[1] ^ Lane::broadcast(key_0);
      counter[2] = first.high ^ counter[3] ^ Lane::broadcast(key_1);
      counter[1] = second.low;
      counter[3] = first.low;
    }
    key_0 += 0x9E3779B9u;  // Weyl sequences of the golden ratio and of sqrt(3) - 1
    key_1 += 0xBB67AE85u;
  }
}

}  // namespace xai_fast

// What GPU kernels need of CUDA, on threads of the host; see launch.h. One block runs at a time, so that a static
// variable is the block's shared memory.
#pragma once

#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "launch.h"

#define XAI_FAST_GLOBAL static
#define XAI_FAST_SHARED static
#define XAI_FAST_NO_UNROLL
#define __device__

namespace xai_fast {

struct Index3 {
  unsigned x;
};

// Threads wait until all that take part have come. One that leaves takes part no more.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (++waiting_ == threads_) return release();
    const int64_t turn = turn_;
    all_here_.wait(lock, [&] { return turn != turn_; });
  }
  void leave() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--threads_ == waiting_ && waiting_ > 0) release();
  }

 private:
  void release() {
    waiting_ = 0;
    ++turn_;
    all_here_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable all_here_;
  int threads_, waiting_ = 0;
  int64_t turn_ = 0;
};

struct Warp {
  Barrier barrier{warp_threads};
  uint64_t slots[warp_threads];  // what the lanes exchange
};

struct Block {
  Barrier barrier{block_threads};
  Warp warps[block_warps];
};

inline thread_local Block* this_block;
inline thread_local Index3 threadIdx, blockIdx;
inline Index3 blockDim{block_threads}, gridDim;

inline Warp& this_warp() { return this_block->warps[threadIdx.x / warp_threads]; }
inline int this_lane() { return static_cast<int>(threadIdx.x % warp_threads); }

inline void __syncthreads() { this_block->barrier.wait(); }
inline void __syncwarp(unsigned = all_lanes) { this_warp().barrier.wait(); }

// What `take` finds among the values of all lanes.
template <class Value, class Take>
auto exchange(Value value, Take take) {
  static_assert(sizeof(Value) <= sizeof(uint64_t), "a slot has 64 bits");
  Warp& warp = this_warp();
  std::memcpy(&warp.slots[this_lane()], &value, sizeof value);
  warp.barrier.wait();
  const auto of_lane = [&](int lane) {
    Value result;
    std::memcpy(&result, &warp.slots[lane], sizeof result);
    return result;
  };
  const auto result = take(of_lane);
  warp.barrier.wait();
  return result;
}

template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int mask) {
  return exchange(value, [=](auto of_lane) { return of_lane(this_lane() ^ mask); });
}
template <class Value>
Value __shfl_up_sync(unsigned, Value value, int distance) {
  return exchange(value, [=](auto of_lane) { return of_lane(this_lane() - (this_lane() < distance ? 0 : distance)); });
}
inline unsigned __ballot_sync(unsigned, bool condition) {
  return exchange(condition, [=](auto of_lane) {
    unsigned bits = 0;
    for (int lane = 0; lane < warp_threads; ++lane) bits |= static_cast<unsigned>(of_lane(lane)) << lane;
    return bits;
  });
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

// Both return what was there before.
inline uint64_t compare_and_swap(uint64_t* at, uint64_t expected, uint64_t desired) {
  __atomic_compare_exchange_n(at, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
inline uint64_t swap_for_smaller(uint64_t* at, uint64_t value) {
  uint64_t held = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (value < held && !__atomic_compare_exchange_n(at, &held, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return held;
}

// Whoever registers here is handed the launches: the kernel's name as the compiler prints it, the blocks, the threads
// of a block, and the struct.
using OnLaunch = void (*)(const char* kernel, int64_t blocks, int threads, const void* arguments, int64_t size);
inline OnLaunch on_launch = nullptr;

class Stream {
 public:
  explicit Stream(uintptr_t) {}
  const char* error() const { return nullptr; }
};

template <auto kernel>
const char* name_of() {
  return __PRETTY_FUNCTION__;
}

template <auto kernel, class Arguments>
void run_thread(unsigned thread, int64_t blocks, std::vector<std::unique_ptr<Block>>& states, Barrier& next,
                const Arguments& arguments) {
  for (int64_t block = 0; block < blocks; ++block) {
    threadIdx = {thread};
    blockIdx = {static_cast<unsigned>(block)};
    this_block = states[block].get();
    kernel(arguments);
    this_warp().barrier.leave();
    this_block->barrier.leave();
    next.wait();  // shared memory is the next block's now
  }
}

template <auto kernel, class Arguments>
void launch(Stream&, int64_t blocks, const Arguments& arguments) {
  if (blocks == 0) return;
  if (on_launch) return on_launch(name_of<kernel>(), blocks, block_threads, &arguments, sizeof arguments);
  gridDim = {static_cast<unsigned>(blocks)};
  std::vector<std::unique_ptr<Block>> states;
  for (int64_t block = 0; block < blocks; ++block) states.emplace_back(new Block);
  Barrier next(block_threads);
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < block_threads; ++thread) {
    threads.emplace_back([&, thread] { run_thread<kernel>(thread, blocks, states, next, arguments); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace xai_fast

extern "C" __attribute__((used, visibility("default"))) inline void xai_fast_on_launch(xai_fast::OnLaunch take) {
  xai_fast::on_launch = take;
}

// GPU kernels from one source. nvcc compiles them for GPUs. g++ runs the very same text on the host, each block as so
// many threads, so that the address and the thread sanitizer see what the kernels do, or hands each launch to whoever
// registered (on_launch), such as an emulator.
//
// A kernel takes one struct of plain values:
//
//   XAI_FAST_GLOBAL void fill(const FillArguments arguments) { ... }
//   launch<fill<float>>(stream, blocks, FillArguments{...});
//
// Blocks have `block_threads` threads. No thread may leave a kernel before its last barrier or shuffle.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host_device.h"

namespace xai_fast {

constexpr int warp_threads = 32, block_threads = 256, block_warps = block_threads / warp_threads;
constexpr unsigned all_lanes = 0xffffffffu;

inline int64_t blocks_for(int64_t threads) { return (threads + block_threads - 1) / block_threads; }

// Hands out parts of a workspace, each aligned; with the address 0 it only counts.
class Workspace {
 public:
  explicit Workspace(uintptr_t address) : address_(address) {}
  template <class Value>
  Value* take(int64_t count) {
    constexpr int64_t alignment = 256;
    const uintptr_t here = address_ + used_;
    used_ += (count * static_cast<int64_t>(sizeof(Value)) + alignment - 1) / alignment * alignment;
    return reinterpret_cast<Value*>(here);
  }
  int64_t used() const { return used_; }

 private:
  uintptr_t address_;
  int64_t used_ = 0;
};

}  // namespace xai_fast

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define XAI_FAST_GLOBAL __global__ __launch_bounds__(xai_fast::block_threads, 2)
#define XAI_FAST_SHARED __shared__
#define XAI_FAST_NO_UNROLL _Pragma("unroll 1")

namespace xai_fast {

// The stream that is launched on, and what went wrong first.
class Stream {
 public:
  explicit Stream(uintptr_t stream) : stream_(reinterpret_cast<cudaStream_t>(stream)) {}
  cudaStream_t get() const { return stream_; }
  void check(cudaError_t status) {
    if (error_ == cudaSuccess) error_ = status;
  }
  bool failed() const { return error_ != cudaSuccess; }
  const char* error() const { return failed() ? cudaGetErrorString(error_) : nullptr; }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

inline __device__ uint64_t compare_and_swap(uint64_t* at, uint64_t expected, uint64_t desired) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(expected),
                   static_cast<unsigned long long>(desired));
}
inline __device__ uint64_t swap_for_smaller(uint64_t* at, uint64_t value) {
  return atomicMin(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
}

template <auto kernel, class Arguments>
void launch(Stream& stream, int64_t blocks, const Arguments& arguments) {
  if (blocks == 0 || stream.failed()) return;
  kernel<<<static_cast<unsigned>(blocks), block_threads, 0, stream.get()>>>(arguments);
  stream.check(cudaGetLastError());
}

}  // namespace xai_fast

#else
#include "host_threads.h"
#endif

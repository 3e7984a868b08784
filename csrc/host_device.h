// One source for g++, clang and nvcc: arithmetic that the CPU and the GPU share is marked XAI_FAST_HD.
#pragma once

#ifdef __CUDACC__
#define XAI_FAST_HD __host__ __device__ __forceinline__
#else
#define XAI_FAST_HD inline __attribute__((always_inline))
#endif

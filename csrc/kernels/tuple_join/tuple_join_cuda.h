// The launches of tuple_join on a GPU. Addresses, sizes and the stream are 64-bit integers, so that a test can call the
// same functions where they run on host threads. What goes wrong comes back in words, else null.
#pragma once

#include <cstdint>

extern "C" {

// Bytes of device memory that the launch needs beside the tensors.
int64_t xai_fast_tuple_join_workspace(int64_t parent_count, int64_t positions);

const char* xai_fast_tuple_join_cuda(int64_t out, int64_t count, int64_t parents, int64_t parent_count, int64_t order,
                                     int64_t features, int64_t begin, int64_t end, int64_t workspace, int64_t stream);
}

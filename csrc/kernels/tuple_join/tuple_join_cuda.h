// The launches of tuple_join on a GPU. Addresses, sizes and the stream are 64-bit integers, so that a test can call the
// same functions where they run on host threads. What goes wrong comes back in words, else null.
#pragma once

#include <cstdint>

extern "C" {

// Bytes of device memory that the launch needs beside the tensors.
int64_t xai_fast_tuple_join_workspace(int64_t parent_count, int64_t positions);
int64_t xai_fast_tuple_top_k_workspace(int64_t k, int64_t candidates, int64_t order, int64_t element_size);

const char* xai_fast_tuple_join_cuda(int64_t out, int64_t count, int64_t parents, int64_t parent_count, int64_t order,
                                     int64_t features, int64_t begin, int64_t end, int64_t min_support,
                                     int64_t workspace, int64_t stream);
const char* xai_fast_tuple_top_k_cuda(int64_t best_values, int64_t best_tuples, int64_t best_count, int64_t values,
                                      int64_t tuples, int64_t k, int64_t candidates, int64_t order,
                                      int64_t element_size, int64_t workspace, int64_t stream);
}

// The launches of tuple_sum on a GPU; see kernels/tuple_join/tuple_join_cuda.h for the form.
#pragma once

#include <cstdint>

extern "C" {

const char* xai_fast_tuple_sum_cuda(int64_t out, int64_t derivatives, int64_t rows, int64_t adjoints, int64_t members,
                                    int64_t items, int64_t tuples, int64_t units, int64_t derivative_count,
                                    int64_t row_count, int64_t adjoint_count, int64_t order, int64_t element_size,
                                    int64_t stream);
}

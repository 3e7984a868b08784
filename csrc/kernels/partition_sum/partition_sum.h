// Sums over set partitions; the contract is xai_fast/kernels/partition_sum/__init__.py.
#pragma once

#include <cstdint>

#include "activations.h"
#include "arguments.h"
#include "isa.h"
#include "partitions.h"

namespace xai_fast {

struct PartitionSum {
  void* out;             // (T, B, U), or reduced (B, T)
  const void* values;    // (B, U)
  const void* rows;      // (R, B, U)
  const void* adjoints;  // (Q, B, U) or null
  Activation activation;
  double parameters[3];
  PartitionProgram program;
  int64_t targets, items, units, row_count;
  int first_order, last_order;  // that occur
  bool reduced;
  Dtype dtype;
  int threads;
};

XAI_FAST_DECLARE(void, partition_sum, PartitionSum)

}  // namespace xai_fast

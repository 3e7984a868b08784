#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "activation_names.h"
#include "kernels/partition_sum/partition_sum.h"
#include "registry.h"

namespace py = pybind11;

namespace xai_fast::partition_sum_binding {
namespace {

constexpr int most_blocks = 6;

void check_range(const char* name, const int32_t* indices, int64_t count, int64_t lowest, int64_t highest) {
  for (int64_t k = 0; k < count; ++k) {
    if (indices[k] >= lowest && indices[k] <= highest) continue;
    throw std::out_of_range(std::string(name) + ": expected an index from " + std::to_string(lowest) + " to " +
                            std::to_string(highest) + ", got " + std::to_string(indices[k]) + " at position " +
                            std::to_string(k));
  }
}

void check_offsets(const char* name, const int32_t* offsets, int64_t count, int64_t end) {
  bool rises = offsets[0] == 0 && offsets[count] == end;
  for (int64_t k = 0; k < count; ++k) rises = rises && offsets[k] <= offsets[k + 1];
  if (!rises) {
    throw std::out_of_range(std::string(name) + ": expected offsets that rise from 0 to " + std::to_string(end) +
                            ", got others");
  }
}

struct Grouped {
  std::vector<TermGroup> groups;
  std::vector<int64_t> offsets;
};

Grouped grouped(const int32_t* term_offsets, const int32_t* order, const int32_t* adjoint, int64_t targets) {
  Grouped result;
  result.offsets.push_back(0);
  for (int64_t t = 0; t < targets; ++t) {
    for (int32_t k = term_offsets[t]; k < term_offsets[t + 1]; ++k) {
      const bool starts = k == term_offsets[t] || order[k] != order[k - 1] || adjoint[k] != adjoint[k - 1];
      if (starts) result.groups.push_back({order[k], adjoint[k], k, k});
      result.groups.back().end_term = k + 1;
    }
    result.offsets.push_back(static_cast<int64_t>(result.groups.size()));
  }
  return result;
}

void run(uintptr_t out, uintptr_t values, uintptr_t rows, uintptr_t adjoints, const std::string& activation,
         const std::vector<double>& parameters, uintptr_t term_offsets, uintptr_t term_order, uintptr_t term_adjoint,
         uintptr_t block_offsets, uintptr_t blocks, int64_t targets, int64_t terms, int64_t block_count, int orders,
         int64_t row_count, int64_t adjoint_count, int64_t items, int64_t units, bool reduced, const std::string& dtype,
         int threads) {
  const auto* offsets = pointer<const int32_t>(term_offsets);
  const auto* order = pointer<const int32_t>(term_order);
  const auto* adjoint = pointer<const int32_t>(term_adjoint);
  const auto* block_starts = pointer<const int32_t>(block_offsets);
  check_offsets("term_offsets", offsets, targets, terms);
  check_offsets("block_offsets", block_starts, terms, block_count);
  check_range("term_order", order, terms, 0, orders);
  check_range("term_adjoint", adjoint, terms, -1, adjoint_count - 1);
  check_range("blocks", pointer<const int32_t>(blocks), block_count, 0, row_count - 1);
  for (int64_t k = 0; k < terms; ++k) {
    if (block_starts[k + 1] - block_starts[k] > most_blocks) {
      throw std::out_of_range("block_offsets: expected at most " + std::to_string(most_blocks) +
                              " blocks a term, got " + std::to_string(block_starts[k + 1] - block_starts[k]));
    }
  }
  const Grouped steps = grouped(offsets, order, adjoint, targets);
  PartitionSum arguments{};
  arguments.out = pointer<void>(out);
  arguments.values = pointer<const void>(values);
  arguments.rows = pointer<const void>(rows);
  arguments.adjoints = pointer<const void>(adjoints);
  arguments.activation = activation_of(activation);
  std::copy_n(parameters.begin(), std::min<size_t>(parameters.size(), 3), arguments.parameters);
  arguments.program = {steps.groups.data(), steps.offsets.data(), block_starts, pointer<const int32_t>(blocks)};
  arguments.targets = targets;
  arguments.items = items;
  arguments.units = units;
  arguments.row_count = row_count;
  arguments.first_order = terms ? *std::min_element(order, order + terms) : 0;
  arguments.last_order = terms ? *std::max_element(order, order + terms) : 0;
  arguments.reduced = reduced;
  arguments.dtype = dtype_of(dtype);
  arguments.threads = threads;
  XAI_FAST_DISPATCH(partition_sum)(arguments);
}

void bind(py::module_& module) {
  module.def("partition_sum", &run, py::kw_only(), py::arg("out"), py::arg("values"), py::arg("rows"),
             py::arg("adjoints"), py::arg("activation"), py::arg("parameters"), py::arg("term_offsets"),
             py::arg("term_order"), py::arg("term_adjoint"), py::arg("block_offsets"), py::arg("blocks"),
             py::arg("targets"), py::arg("terms"), py::arg("block_count"), py::arg("orders"), py::arg("row_count"),
             py::arg("adjoint_count"), py::arg("items"), py::arg("units"), py::arg("reduced"), py::arg("dtype"),
             py::arg("threads"), py::call_guard<py::gil_scoped_release>(),
             "See xai_fast.kernels.partition_sum; tensors are addresses, that of the adjoints may be 0.");
}

const Registration registration("partition_sum", &bind);

}  // namespace
}  // namespace xai_fast::partition_sum_binding

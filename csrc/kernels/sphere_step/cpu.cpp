// The rule `sign` is one sweep over a row; the others need the row's norms first and find the row in cache the second
// time. Sums are in double, so that gradients of 1e-25 or 1e25 neither vanish nor overflow.
#include "kernels/sphere_step/sphere_step.h"

#include <cmath>

#include "elements.h"
#include "sweeps.h"

namespace xai_fast {
namespace XAI_FAST_ISA {
namespace {

template <class Scalar, class Gradient>
struct Row {
  Scalar* __restrict__ point;
  const Scalar* __restrict__ center;
  const Gradient* __restrict__ gradient;

  Row(const SphereStep& step, int64_t row)
      : point(static_cast<Scalar*>(step.points) + row * step.entries),
        center(static_cast<const Scalar*>(step.centers) + step.item[row] * step.entries),
        gradient(static_cast<const Gradient*>(step.gradients) + row * step.entries) {}

  double offset(int64_t entry) const { return static_cast<double>(point[entry]) - center[entry]; }
  double force(int64_t entry) const { return number(gradient[entry]); }
};

struct SumOfSquares {
  double value;
  void operator+=(SumOfSquares other) { value += other.value; }
};

// F.F, F.d and d.d for the gradient F and the offset d from the center.
struct Products {
  double ff, fd, dd;
  void operator+=(const Products& other) {
    ff += other.ff;
    fd += other.fd;
    dd += other.dd;
  }
};

// x + along_offset * d - along_gradient * F
struct Move {
  bool stays;
  double along_offset, along_gradient;
};

template <class Scalar, class Gradient>
void sign_rule(const SphereStep& step) {
  one_sweep(step.active_rows, step.active_count, step.entries, step.threads,
            [&](int64_t index, int64_t begin, int64_t end) {
              const Row<Scalar, Gradient> row(step, index);
              const Scalar radius = static_cast<Scalar>(step.radius);
#pragma omp simd
              for (int64_t e = begin; e < end; ++e) {
                const Scalar f = static_cast<Scalar>(number(row.gradient[e]));
                // where F is neither positive nor negative it is 0, or NaN, which has to show
                row.point[e] = row.center[e] - (f > 0 ? radius : f < 0 ? -radius : f);
              }
            });
}

template <class Scalar, class Gradient>
void normalized_rule(const SphereStep& step) {
  two_sweeps<SumOfSquares>(
      step.active_rows, step.active_count, step.entries, step.threads,
      [&](int64_t index, int64_t begin, int64_t end) {
        const Row<Scalar, Gradient> row(step, index);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t e = begin; e < end; ++e) sum += row.force(e) * row.force(e);
        return SumOfSquares{sum};
      },
      [&](int64_t, SumOfSquares sum) { return Move{sum.value == 0, 0, step.radius / std::sqrt(sum.value)}; },
      [&](int64_t index, int64_t begin, int64_t end, Move move) {
        if (move.stays) return;
        const Row<Scalar, Gradient> row(step, index);
#pragma omp simd
        for (int64_t e = begin; e < end; ++e) {
          row.point[e] = static_cast<Scalar>(row.center[e] - move.along_gradient * row.force(e));
        }
      });
}

// t.t for t = F - along * d, without the cancellation of F.F - (F.d)^2 / d.d.
template <class Scalar, class Gradient>
double tangent_squared(const Row<Scalar, Gradient>& row, int64_t entries, double along) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t e = 0; e < entries; ++e) {
    const double t = row.force(e) - along * row.offset(e);
    sum += t * t;
  }
  return sum;
}

template <class Scalar, class Gradient>
Move tangent_move(const SphereStep& step, const Row<Scalar, Gradient>& row, const Products& products) {
  constexpr double cancels = 1e-2;  // more than this is left of F.F: at most two digits of sixteen are lost
  if (products.dd == 0) return {true, 0, 0};
  const double along = products.fd / products.dd;
  double tt = products.ff - along * products.fd;
  if (!(tt > cancels * products.ff)) tt = tangent_squared(row, step.entries, along);
  const double length = std::sqrt(tt);
  // with NaN or infinite gradients the row does not stay: it becomes NaN, which shows
  if (std::isfinite(products.ff) && length <= step.tangent_floor * std::sqrt(products.ff)) return {true, 0, 0};
  // x + radius * d' / norm(d'), d' = d - radius * t / length; t and d are orthogonal
  const double scale = step.radius / std::sqrt(products.dd + step.radius * step.radius);
  return {false, scale * (1 + step.radius * along / length), scale * step.radius / length};
}

template <class Scalar, class Gradient>
void tangent_rule(const SphereStep& step) {
  two_sweeps<Products>(
      step.active_rows, step.active_count, step.entries, step.threads,
      [&](int64_t index, int64_t begin, int64_t end) {
        const Row<Scalar, Gradient> row(step, index);
        double ff = 0, fd = 0, dd = 0;
#pragma omp simd reduction(+ : ff, fd, dd)
        for (int64_t e = begin; e < end; ++e) {
          const double f = row.force(e), d = row.offset(e);
          ff += f * f;
          fd += f * d;
          dd += d * d;
        }
        return Products{ff, fd, dd};
      },
      [&](int64_t index, const Products& products) {
        return tangent_move(step, Row<Scalar, Gradient>(step, index), products);
      },
      [&](int64_t index, int64_t begin, int64_t end, Move move) {
        if (move.stays) return;
        const Row<Scalar, Gradient> row(step, index);
#pragma omp simd
        for (int64_t e = begin; e < end; ++e) {
          row.point[e] = static_cast<Scalar>(row.center[e] + move.along_offset * row.offset(e) -
                                             move.along_gradient * row.force(e));
        }
      });
}

template <class Scalar, class Gradient>
void any_rule(const SphereStep& step) {
  switch (step.rule) {
    case StepRule::sign:
      return sign_rule<Scalar, Gradient>(step);
    case StepRule::normalized:
      return normalized_rule<Scalar, Gradient>(step);
    case StepRule::tangent:
      return tangent_rule<Scalar, Gradient>(step);
  }
}

}  // namespace

void sphere_step(const SphereStep& step) {
  if (step.dtype == Dtype::float64) {
    any_rule<double, double>(step);
  } else if (step.gradient_dtype == Dtype::bfloat16) {
    any_rule<float, BFloat16>(step);
  } else {
    any_rule<float, float>(step);
  }
}

}  // namespace XAI_FAST_ISA
}  // namespace xai_fast

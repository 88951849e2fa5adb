// Compiled once per instruction set, with FRIEZE_SIMD naming it and Eigen renamed so that its inline functions never mix.
#include <frieze/layers/shared/simd/matmul.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false, in GCC 12's own AVX-512 header (GCC bug 105593)
#endif
#include <Eigen/Core>

#define FRIEZE_JOIN(a, b) a##b
#define FRIEZE_NAME(a, b) FRIEZE_JOIN(a, b)

namespace frieze::simd {
namespace {

using Index = Eigen::Index;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;

// K is taken in blocks, so that the widened copies of a and b stay in the cache for products of any length.
constexpr std::int64_t kBlockK = 512;

template <class T>
auto block(const Operand& x, std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const T* first = static_cast<const T*>(x.data) + row * x.row_stride + col * x.col_stride;
  return Eigen::Map<const Matrix, 0, Strided>(first, Index(rows), Index(cols), Strided(Index(x.row_stride), Index(x.col_stride)));
}

void widen(RowMajor& out, const Operand& x, std::int64_t row, std::int64_t col, std::int64_t rows, std::int64_t cols) {
  if (x.is_double) {
    out = block<double>(x, row, col, rows, cols);
  } else {
    out = block<float>(x, row, col, rows, cols).template cast<double>();
  }
}

}  // namespace

void FRIEZE_NAME(matmul_, FRIEZE_SIMD)(const Product& p) {
  Eigen::Map<RowMajor, 0, Eigen::OuterStride<>> c(p.c, Index(p.m), Index(p.n), Eigen::OuterStride<>(Index(p.c_row_stride)));
  if (!p.accumulate) c.setZero();
  RowMajor a, b;
  for (std::int64_t k = 0; k < p.k; k += kBlockK) {
    const std::int64_t depth = p.k - k < kBlockK ? p.k - k : kBlockK;
    widen(a, p.a, 0, k, p.m, depth);
    widen(b, p.b, k, 0, depth, p.n);
    c.noalias() += a * b;
  }
}

}  // namespace frieze::simd

#pragma once
/// The matrix product of the CPU reference.
#include <cstdint>

namespace frieze {

/// A matrix in host memory, not owned. Element (i, j) lies at data[i * row_stride + j * col_stride]; one of the strides is 1.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::int64_t row_stride = 0, col_stride = 1;

  MatrixView() = default;
  /// Row-major and contiguous.
  MatrixView(T* data, std::int64_t rows, std::int64_t cols) : data(data), rows(rows), cols(cols), row_stride(cols) {}
  MatrixView(T* data, std::int64_t rows, std::int64_t cols, std::int64_t row_stride, std::int64_t col_stride = 1)
      : data(data), rows(rows), cols(cols), row_stride(row_stride), col_stride(col_stride) {}
  MatrixView transposed() const { return MatrixView(data, cols, rows, col_stride, row_stride); }
};

/// c[i,j] = sum_k a[i,k] * b[k,j], or c[i,j] += … if `accumulate`. a: [M,K], b: [K,N], f32 or double in any mix; c: [M,N]
/// row-major (col_stride 1). Products and sums are in double; K = 0 gives zero. c must overlap neither a nor b. Runs in
/// parallel unless called from a parallel_for, with the best of the instruction sets that this processor has; their
/// results may differ in the last bits of the double sums. Throws ShapeError if the extents or strides do not fit.
void matmul(const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<double>& c, bool accumulate = false);
void matmul(const MatrixView<const float>& a, const MatrixView<const double>& b, const MatrixView<double>& c, bool accumulate = false);
void matmul(const MatrixView<const double>& a, const MatrixView<const float>& b, const MatrixView<double>& c, bool accumulate = false);
void matmul(const MatrixView<const double>& a, const MatrixView<const double>& b, const MatrixView<double>& c, bool accumulate = false);

/// The instruction set that matmul() uses on this processor: "baseline", "avx2" or "avx512".
const char* matmul_variant();

}  // namespace frieze

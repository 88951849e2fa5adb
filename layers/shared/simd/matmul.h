#pragma once
/// Internal: one product of matrices, as plain data, and its entry point in each instruction set. No code here or in
/// matmul.cpp may be shared with the rest of the program: the linker could then pick a copy that this processor cannot run.
#include <cstdint>

namespace frieze::simd {

struct Operand {
  const void* data;
  bool is_double;  ///< else float
  std::int64_t row_stride, col_stride;
};

struct Product {
  Operand a, b;
  double* c;
  std::int64_t m, n, k, c_row_stride;
  bool accumulate;
};

void matmul_baseline(const Product& p);
void matmul_avx2(const Product& p);
void matmul_avx512(const Product& p);

}  // namespace frieze::simd

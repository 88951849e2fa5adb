#include <frieze/layers/shared/matmul.h>

#include <algorithm>
#include <type_traits>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/shared/simd/matmul.h>
#ifdef FRIEZE_HAS_SIMD_avx2
#include <cpuid.h>
#endif

namespace frieze {
namespace {

struct Variant {
  const char* name;
  void (*run)(const simd::Product&);
};

#ifdef FRIEZE_HAS_SIMD_avx2
// clang 14's __builtin_cpu_supports does not know "f16c".
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

Variant pick_variant() {
#ifdef FRIEZE_HAS_SIMD_avx512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma") && has_f16c()) {
    return {"avx512", &simd::matmul_avx512};
  }
#endif
#ifdef FRIEZE_HAS_SIMD_avx2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    return {"avx2", &simd::matmul_avx2};
  }
#endif
  return {"baseline", &simd::matmul_baseline};
}

const Variant& variant() {
  static const Variant picked = pick_variant();
  return picked;
}

template <class T>
simd::Operand operand(const MatrixView<const T>& x) {
  return {x.data, std::is_same_v<T, double>, x.row_stride, x.col_stride};
}

// One task is a tile of c, small enough for its widened operands (512 deep) to stay in a core's cache.
constexpr std::int64_t kTileRows = 256, kTileCols = 512;

template <class A, class B>
void product(const MatrixView<const A>& a, const MatrixView<const B>& b, const MatrixView<double>& c, bool accumulate) {
  check<ShapeError>(a.rows >= 0 && a.cols >= 0 && b.cols >= 0 && a.cols == b.rows && c.rows == a.rows && c.cols == b.cols,
                    "matmul expects [M,K] x [K,N] -> [M,N], got [", a.rows, ",", a.cols, "] x [", b.rows, ",", b.cols, "] -> [", c.rows,
                    ",", c.cols, "]");
  check<ShapeError>(c.col_stride == 1 && (c.rows <= 1 || c.row_stride >= c.cols), "matmul expects a row-major result, got strides ",
                    c.row_stride, ", ", c.col_stride, " for ", c.cols, " columns");
  const std::int64_t row_tiles = ceil_div(c.rows, kTileRows), col_tiles = ceil_div(c.cols, kTileCols);
  parallel_for(row_tiles * col_tiles, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
      const std::int64_t i = t / col_tiles * kTileRows, j = t % col_tiles * kTileCols;
      simd::Product p{operand(a), operand(b), c.data + i * c.row_stride + j, 0, 0, a.cols, c.row_stride, accumulate};
      p.m = std::min(kTileRows, c.rows - i);
      p.n = std::min(kTileCols, c.cols - j);
      p.a.data = a.data + i * a.row_stride;
      p.b.data = b.data + j * b.col_stride;
      variant().run(p);
    }
  });
}

}  // namespace

void matmul(const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<double>& c, bool accumulate) {
  product(a, b, c, accumulate);
}
void matmul(const MatrixView<const float>& a, const MatrixView<const double>& b, const MatrixView<double>& c, bool accumulate) {
  product(a, b, c, accumulate);
}
void matmul(const MatrixView<const double>& a, const MatrixView<const float>& b, const MatrixView<double>& c, bool accumulate) {
  product(a, b, c, accumulate);
}
void matmul(const MatrixView<const double>& a, const MatrixView<const double>& b, const MatrixView<double>& c, bool accumulate) {
  product(a, b, c, accumulate);
}

const char* matmul_variant() { return variant().name; }

}  // namespace frieze

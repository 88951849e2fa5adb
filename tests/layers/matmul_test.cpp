#include <frieze/layers/shared/matmul.h>

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

template <class T>
std::vector<T> values(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 bits(seed);
  std::vector<T> v(static_cast<std::size_t>(count));
  for (T& x : v) x = static_cast<T>(static_cast<double>(bits() >> 40) * 0x1p-23 - 1);  // 24 random bits in [-1, 1)
  return v;
}

template <class A, class B>
void expect_product(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b, bool accumulate) {
  SCOPED_TRACE(testing::Message() << m << "x" << n << "x" << k << (transpose_a ? " ta" : "") << (transpose_b ? " tb" : "")
                                  << (accumulate ? " +=" : ""));
  const auto a = values<A>(m * k, 1);
  const auto b = values<B>(k * n, 2);
  const std::int64_t ldc = n + 3;
  std::vector<double> c(static_cast<std::size_t>(m * ldc), 7.0);
  const MatrixView<const A> av = transpose_a ? MatrixView<const A>(a.data(), k, m).transposed() : MatrixView<const A>(a.data(), m, k);
  const MatrixView<const B> bv = transpose_b ? MatrixView<const B>(b.data(), n, k).transposed() : MatrixView<const B>(b.data(), k, n);
  matmul(av, bv, MatrixView<double>(c.data(), m, n, ldc), accumulate);
  const auto at = [](const auto& v, std::int64_t i, std::int64_t j) {
    return static_cast<double>(v.data[i * v.row_stride + j * v.col_stride]);
  };
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < ldc; ++j) {
      const double got = c[static_cast<std::size_t>(i * ldc + j)];
      if (j >= n) {
        EXPECT_EQ(got, 7.0) << "wrote past a row";
        continue;
      }
      double sum = accumulate ? 7.0 : 0.0, magnitude = 7.0;
      for (std::int64_t l = 0; l < k; ++l) {
        sum += at(av, i, l) * at(bv, l, j);
        magnitude += std::abs(at(av, i, l) * at(bv, l, j));
      }
      // Two sums of k + 1 double terms in different orders: gamma(k + 1) each.
      ASSERT_NEAR(got, sum, 2 * static_cast<double>(k + 1) * 0x1p-53 * magnitude) << "at " << i << ", " << j;
    }
  }
}

TEST(Matmul, EqualsThreeLoops) {
  for (const auto [m, n, k] : {std::array<std::int64_t, 3>{1, 1, 1},
                               {1, 5, 3},
                               {7, 1, 9},
                               {3, 33, 27},
                               {17, 19, 513},
                               {2, 1025, 4},
                               {300, 5, 31},
                               {257, 515, 65},
                               {4, 4, 1100}}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) expect_product<float, float>(m, n, k, ta, tb, false);
    }
    expect_product<float, double>(m, n, k, false, true, true);
    expect_product<double, float>(m, n, k, true, false, false);
    expect_product<double, double>(m, n, k, false, false, true);
  }
}

// 2^24 + 1 - 2^24: f32 sums would lose the one.
TEST(Matmul, SumsInDouble) {
  const std::vector<float> a{16777216.0F, 1.0F, -16777216.0F}, b{1.0F, 1.0F, 1.0F};
  double c = 0;
  matmul(MatrixView<const float>(a.data(), 1, 3), MatrixView<const float>(b.data(), 3, 1), MatrixView<double>(&c, 1, 1));
  EXPECT_EQ(c, 1.0);
}

TEST(Matmul, EmptyInnerExtentGivesZeroOrKeeps) {
  double c = 3;
  const float none = 0;
  matmul(MatrixView<const float>(&none, 1, 0), MatrixView<const float>(&none, 0, 1), MatrixView<double>(&c, 1, 1), true);
  EXPECT_EQ(c, 3.0);
  matmul(MatrixView<const float>(&none, 1, 0), MatrixView<const float>(&none, 0, 1), MatrixView<double>(&c, 1, 1));
  EXPECT_EQ(c, 0.0);
}

TEST(Matmul, PropagatesNaNOnlyWhereItBelongs) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> a{1, nan, 1, 1}, b{1, 0, 0, 1};
  std::vector<double> c(4);
  matmul(MatrixView<const float>(a.data(), 2, 2), MatrixView<const float>(b.data(), 2, 2), MatrixView<double>(c.data(), 2, 2));
  EXPECT_TRUE(std::isnan(c[0]) && std::isnan(c[1]));
  EXPECT_EQ(c[2], 1.0);
  EXPECT_EQ(c[3], 1.0);
}

TEST(Matmul, RefusesExtentsThatDoNotFit) {
  const std::vector<float> a(6);
  std::vector<double> c(6);
  EXPECT_THROW(matmul(MatrixView<const float>(a.data(), 2, 3), MatrixView<const float>(a.data(), 2, 3), MatrixView<double>(c.data(), 2, 3)),
               ShapeError);
  EXPECT_THROW(
      matmul(MatrixView<const float>(a.data(), 2, 3), MatrixView<const float>(a.data(), 3, 2), MatrixView<double>(c.data(), 2, 2, 1)),
      ShapeError);
}

TEST(Matmul, NamesItsVariant) {
  const std::string name = matmul_variant();
  EXPECT_TRUE(name == "baseline" || name == "avx2" || name == "avx512") << name;
}

}  // namespace
}  // namespace frieze

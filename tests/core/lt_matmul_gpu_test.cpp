// cuBLASLt's products: what tuning chose comes back from the tuning cache, and the cache is not believed everything.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/lt_matmul.h>
#include <frieze/core/tuning_cache.h>

#include "support/temp_folder.h"

namespace frieze::cuda {
namespace {

constexpr std::int64_t kM = 200, kN = 512, kK = 256;

std::vector<float> values(std::int64_t count, std::uint64_t seed, DType t) {
  return test::random_values(static_cast<std::size_t>(count), seed, test::Fill::normal, t, 1);
}

// One product in memory of its own. A file of the cache that this process has not read yet is what the next process finds.
class Product {
 public:
  Product(DType t, bool bias)
      : t_(t), x_(to_device(values(kM * kK, 1, t), t)), w_(to_device(values(kN * kK, 2, t), t)), bias_(to_device(values(kN, 3, t), t)) {
    spec_ = {.m = kM, .n = kN, .k = kK, .ldx = kK, .ldw = kK, .in = t, .out = t, .bias = bias ? bias_.data() : nullptr};
  }

  std::optional<LtMatmul> plan(const std::string& file, bool tune = true) const {
    const TuningCacheScope cache(file);
    PrepareArgs args;
    args.device = &device_;
    args.stream = stream_.get();
    args.tune = tune;
    return LtMatmul::plan(spec_, w_.data(), args);
  }
  std::vector<float> run(const LtMatmul& product) const {
    const DeviceBuffer y(static_cast<std::size_t>(kM * kN) * size_of(t_)), workspace(product.workspace_bytes());
    CUDA_CHECK(cudaMemsetAsync(y.data(), 0xFF, y.bytes(), stream_.get()));  // NaN
    product.launch(x_.data(), nullptr, y.data(), workspace.data(), stream_.get());
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
    const HostTensor got({{kM, kN}, t_});
    y.download(got.data(), got.bytes());
    return got.floats();
  }

 private:
  DType t_;
  DeviceInfo device_ = device_info(0);
  Stream stream_ = make_stream();
  DeviceBuffer x_, w_, bias_;
  LtMatmulSpec spec_;
};

std::string text_of(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

// "cublasLt algo 66" of "cublasLt algo 66 (2 of 8), bias".
std::string algorithm(const LtMatmul& product) { return product.describe().substr(0, product.describe().find(" (")); }
bool is_remembered(const LtMatmul& product) { return product.describe().find(" (tuned, from the cache)") != std::string::npos; }
bool is_timed(const LtMatmul& product) { return product.describe().find(" of ") != std::string::npos; }

// Where the one choice of a file begins, and its length.
struct Place {
  std::size_t at, length;
};
Place choice_in(const std::string& text) {
  const std::size_t at = text.find("\"algo ") + 1;
  return {at, text.find('"', at) - at};
}

TEST(LtMatmulTuningGpu, TheChoiceComesBackFromTheCache) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << t << (bias ? ", bias" : ""));
      const test::TempFolder folder;
      const Product product(t, bias);
      const std::string file = folder.file("tuning.json"), copy = folder.file("copy.json");
      const auto tuned = product.plan(file);
      ASSERT_TRUE(tuned);
      EXPECT_TRUE(is_timed(*tuned)) << tuned->describe();
      const std::string text = text_of(file);
      EXPECT_NE(text.find("cublasLt, "), std::string::npos) << text;
      EXPECT_NE(text.find("\"algo "), std::string::npos) << text;
      const std::vector<float> y = product.run(*tuned);

      folder.write("copy.json", text);
      for (const std::string& known : {file, copy}) {
        const auto again = product.plan(known);
        ASSERT_TRUE(again);
        EXPECT_TRUE(is_remembered(*again)) << again->describe();
        EXPECT_EQ(algorithm(*again), algorithm(*tuned));
        EXPECT_EQ(again->workspace_bytes(), tuned->workspace_bytes());
        EXPECT_EQ(product.run(*again), y) << "another algorithm, or another setting of it";
        EXPECT_EQ(text_of(known), text) << "a choice that was found is not stored again";
      }
      const auto untuned = product.plan(copy, false);
      ASSERT_TRUE(untuned);
      EXPECT_FALSE(is_remembered(*untuned)) << "without tuning the cache is not asked";
    }
  }
}

// Entries that name no algorithm that the library offers, and a file that is no JSON: timed again, and stored again.
TEST(LtMatmulTuningGpu, ACorruptEntryIsTimedAgain) {
  FRIEZE_NEEDS_GPU();
  const test::TempFolder folder;
  const Product product(DType::f16, true);
  const std::string file = folder.file("tuning.json");
  const auto tuned = product.plan(file);
  ASSERT_TRUE(tuned);
  const std::string text = text_of(file);
  const Place choice = choice_in(text);
  ASSERT_LT(choice.at + choice.length, text.size()) << text;
  const std::string right = text.substr(choice.at, choice.length);
  const auto with = [&](const std::string& value) {
    std::string changed = text;
    return changed.replace(choice.at, choice.length, value);
  };
  const std::vector<std::string> corrupt{with(""),
                                         with("algo -1"),
                                         with("algo 999" + right.substr(right.find(" tile"))),
                                         with(right + " "),
                                         with(right.substr(0, right.size() / 2)),
                                         text.substr(0, choice.at + choice.length / 2)};
  const std::vector<float> y = product.run(*tuned);
  const ErrorBudget twice{.roundings = 2.1,
                          .terms = 2 * (8 + 4 * 16.1 + 33)};  // two algorithms, each within Linear's budget for 256 products
  for (std::size_t i = 0; i < corrupt.size(); ++i) {
    SCOPED_TRACE(corrupt[i]);
    const std::string wrong = folder.write("wrong" + std::to_string(i) + ".json", corrupt[i]);
    const auto again = product.plan(wrong);
    ASSERT_TRUE(again);
    EXPECT_TRUE(is_timed(*again)) << again->describe();
    EXPECT_LE(test::compare(product.run(*again), y, DType::f16, twice).share, 1);
    const std::string stored = text_of(wrong);
    EXPECT_NE(stored, corrupt[i]) << "what was timed is stored";
    folder.write("mended" + std::to_string(i) + ".json", stored);
    const auto mended = product.plan(folder.file("mended" + std::to_string(i) + ".json"));
    ASSERT_TRUE(mended);
    EXPECT_TRUE(is_remembered(*mended)) << mended->describe();
    EXPECT_EQ(algorithm(*mended), algorithm(*again));
  }
}

}  // namespace
}  // namespace frieze::cuda
#endif

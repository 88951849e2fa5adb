// The kernels of RMSNorm2d against its reference: every type, format, channel count, option and kind of data.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <frieze/core/tuning_cache.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include "layers/rms_norm2d_formula.h"
#include "support/parity.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::ParityCase;

using test::kTypes;
constexpr Format kFormats[] = {Format::nchw, Format::nhwc};
constexpr Fill kFills[] = {Fill::normal, Fill::zeros,     Fill::one_hot, Fill::constant,
                           Fill::huge,   Fill::subnormal, Fill::mixed,   Fill::special};
constexpr EpilogueOp kAdd{EpilogueOp::Kind::add, Activation::none};
constexpr EpilogueOp act(Activation f) { return {EpilogueOp::Kind::activation, f}; }

// A cache file of one test, empty at first.
class OwnCacheFile {
 public:
  OwnCacheFile() = default;
  ~OwnCacheFile() { std::filesystem::remove(file_); }
  OwnCacheFile(const OwnCacheFile&) = delete;
  OwnCacheFile& operator=(const OwnCacheFile&) = delete;

 private:
  static inline int count_ = 0;  // a file read once is kept in memory: no two tests share a name
  std::filesystem::path file_ =
      std::filesystem::temp_directory_path() / ("frieze_norm_own_" + std::to_string(::getpid()) + "_" + std::to_string(count_++) + ".json");
  TuningCacheScope scope_{file_};
};

RMSNorm2dOptions options(bool weight, bool bias) {
  RMSNorm2dOptions o;
  o.weight = weight;
  o.bias = bias;
  return o;
}

test::ParityReport run(const RMSNorm2dOptions& o, const Shape& shape, ParityCase c) {
  c.inputs.assign(o.residual == ResidualMode::none ? 1 : 2, shape);
  RMSNorm2d layer(shape.c(), o);
  init_random(layer, 5);
  return expect_parity(layer, c);
}

struct Image {
  std::int64_t n, h, w;
};

class RMSNorm2dGpu : public testing::TestWithParam<std::tuple<DType, Format>> {
 protected:
  static DType dtype() { return std::get<0>(GetParam()); }
  static Format format() { return std::get<1>(GetParam()); }
  static ParityCase parity(Fill fill = Fill::normal) { return {.inputs = {}, .dtype = dtype(), .format = format(), .fill = fill}; }
};
INSTANTIATE_TEST_SUITE_P(TypesAndFormats, RMSNorm2dGpu, testing::Combine(testing::ValuesIn(kTypes), testing::ValuesIn(kFormats)),
                         [](const auto& info) {
                           return std::string(name(std::get<0>(info.param))) + "_" + std::string(name(std::get<1>(info.param)));
                         });

// Channels and images: rows that start on every alignment, one pixel, less than a tile, many tiles and a rest.
TEST_P(RMSNorm2dGpu, ChannelsAndImages) {
  FRIEZE_NEEDS_GPU();
  const Image few[] = {{1, 1, 1}, {7, 1, 1}, {2, 5, 7}, {1, 4, 8}}, many[] = {{1, 16, 33}, {2, 16, 24}, {7, 5, 9}};
  for (const std::int64_t c : {1, 2, 3, 7, 31, 32, 33, 48, 64, 96, 192, 320, 384, 640, 1024, 1025, 1280, 4096, 5000}) {
    for (const auto& [n, h, w] : few) run(options(c % 2 == 0, c % 3 == 0), {n, c, h, w}, parity());
    if (c > 384) continue;
    for (const auto& [n, h, w] : many) run(options(c % 2 != 0, false), {n, c, h, w}, parity());
  }
}

TEST_P(RMSNorm2dGpu, VeryManyChannels) {
  FRIEZE_NEEDS_GPU();
  for (const std::int64_t c : {16384, 65536}) {
    for (const auto& [n, h, w] : {Image{1, 1, 1}, Image{1, 1, 5}, Image{2, 2, 4}}) run(options(true, n == 2), {n, c, h, w}, parity());
  }
  run(options(false, false), {1, 65535, 1, 3}, parity(Fill::one_hot));
}

// All options with each other, on rows that vectors fit and on rows that they do not.
TEST_P(RMSNorm2dGpu, EveryOption) {
  FRIEZE_NEEDS_GPU();
  std::size_t i = 0;
  for (const EpsMode mode : test::kEpsModes) {
    for (const int affine : {0, 1, 3}) {
      for (const Rounding rounding : test::kRoundings) {
        if (dtype() == DType::f32 && rounding != Rounding::once && affine != 3) continue;  // nothing to round
        for (const Activation activation : test::kActivations) {
          for (const ResidualMode residual : test::kResidualModes) {
            RMSNorm2dOptions o = options((affine & 1) != 0, (affine & 2) != 0);
            o.eps_mode = mode;
            o.eps = mode == EpsMode::clamp_norm ? 0.5 : 1e-3;
            o.rounding = rounding;
            o.activation = activation;
            o.residual = residual;
            run(o, ++i % 2 == 0 ? Shape{2, 33, 5, 7} : Shape{1, 64, 5, 8}, parity());
          }
        }
      }
    }
  }
}

// eps decides, in each mode: the mean square of these values is about 6e-6, the root 2.4e-3, the norm 0.02.
TEST_P(RMSNorm2dGpu, EpsOnSmallValues) {
  FRIEZE_NEEDS_GPU();
  for (const EpsMode mode : test::kEpsModes) {
    for (const double eps : {0.0, 1e-12, 1e-5, 1e-2}) {
      for (const Fill fill : {Fill::subnormal, Fill::mixed, Fill::zeros}) {
        RMSNorm2dOptions o = options(true, false);
        o.eps_mode = mode;
        o.eps = eps;
        run(o, {1, 64, 4, 8}, parity(fill));
      }
    }
  }
}

TEST_P(RMSNorm2dGpu, EveryKindOfData) {
  FRIEZE_NEEDS_GPU();
  for (const Fill fill : kFills) {
    for (const std::int64_t c : {3, 64, 192, 1025, 5000}) {
      for (const Image& image : {Image{2, 3, 3}, Image{1, 2, 8}}) {
        if (c == 5000 && image.n == 2) continue;
        run(options(false, false), {image.n, c, image.h, image.w}, parity(fill));
        run(options(true, true), {image.n, c, image.h, image.w}, parity(fill));
      }
    }
    for (const EpsMode mode : test::kEpsModes) {
      RMSNorm2dOptions o = options(false, false);
      o.eps_mode = mode;
      o.eps = default_eps(mode);
      for (const Rounding rounding : {Rounding::once, Rounding::wan}) {
        o.rounding = rounding;
        run(o, {1, 96, 4, 8}, parity(fill));
      }
    }
    for (const ResidualMode residual : {ResidualMode::before, ResidualMode::after}) {
      RMSNorm2dOptions o = options(true, false);
      o.residual = residual;
      o.activation = Activation::relu;
      run(o, {1, 96, 4, 8}, parity(fill));
    }
  }
}

TEST_P(RMSNorm2dGpu, EpilogueChains) {
  FRIEZE_NEEDS_GPU();
  const EpilogueOp silu = act(Activation::silu), gelu = act(Activation::gelu), relu = act(Activation::relu);
  for (const auto& chain : std::vector<std::vector<EpilogueOp>>{{silu},
                                                                {gelu},
                                                                {act(Activation::gelu_tanh)},
                                                                {act(Activation::sigmoid)},
                                                                {kAdd},
                                                                {kAdd, relu},
                                                                {silu, kAdd},
                                                                {silu, kAdd, relu},
                                                                {relu, silu}}) {
    for (const Shape& shape : {Shape{2, 33, 5, 7}, Shape{1, 64, 8, 8}, Shape{1, 1280, 2, 4}}) {
      ParityCase c = parity();
      c.epilogue = chain;
      run(options(true, shape.c() == 33), shape, c);
      c.fill = Fill::special;
      run(options(true, false), shape, c);
    }
  }
  // What the options do comes first.
  ParityCase c = parity();
  c.epilogue = {kAdd, relu};
  RMSNorm2dOptions o = options(true, true);
  o.activation = Activation::silu;
  run(o, {2, 33, 5, 8}, c);
  o.residual = ResidualMode::before;
  c.epilogue = {relu};
  run(o, {2, 33, 5, 8}, c);
  o.residual = ResidualMode::after;
  run(o, {2, 33, 5, 8}, c);
}

TEST_P(RMSNorm2dGpu, MisalignedStridedAndInPlace) {
  FRIEZE_NEEDS_GPU();
  for (const std::int64_t c : {3, 64, 96, 1024, 1025}) {
    for (const Image& image : {Image{2, 3, 8}, Image{1, 3, 5}}) {
      const Shape shape{image.n, c, image.h, image.w};
      for (const ResidualMode residual : test::kResidualModes) {
        RMSNorm2dOptions o = options(true, false);
        o.residual = residual;
        for (const std::int64_t misalign : {1, 2, 4}) {
          ParityCase misaligned = parity();
          misaligned.misalign = misalign;
          run(o, shape, misaligned);
        }
        ParityCase padded = parity();
        padded.padded_strides = true;
        run(o, shape, padded);
        ParityCase in_place = parity();
        in_place.in_place = true;
        run(o, shape, in_place);
        in_place.padded_strides = true;
        run(o, shape, in_place);
      }
    }
  }
}

TEST_P(RMSNorm2dGpu, TunedOnes) {
  FRIEZE_NEEDS_GPU();
  const auto configuration = [](const std::string& line) { return line.substr(0, line.find(" (")); };
  const OwnCacheFile nothing_learned;  // shapes of one class share an entry, and other tests tune some of these
  for (const Shape& shape : {Shape{1, 64, 128, 128}, Shape{1, 512, 16, 16}, Shape{1, 33, 31, 33}, Shape{1, 4096, 4, 8}}) {
    ParityCase c = parity();
    EXPECT_TRUE(run(options(true, false), shape, c).describe.ends_with(" (default)"));
    c.tune = true;
    const std::string tuned = run(options(true, false), shape, c).describe, again = run(options(true, false), shape, c).describe;
    EXPECT_NE(tuned.find(" (tuned: "), std::string::npos) << tuned;
    EXPECT_TRUE(again.ends_with(" (tuned, from the cache)")) << again;
    EXPECT_EQ(configuration(again), configuration(tuned)) << "the second time the choice comes from the cache";
    RMSNorm2dOptions o = options(false, false);
    o.residual = ResidualMode::before;
    run(o, shape, c);
  }
}

// What the next process will read, and that it does not believe everything.
TEST(RMSNorm2dTuning, ChoicesAreInTheFileAndMustBeCandidates) {
  FRIEZE_NEEDS_GPU();
  ParityCase c{.inputs = {}, .dtype = DType::f16, .tune = true};
  const std::filesystem::path file = std::filesystem::temp_directory_path() / ("frieze_norm_file_" + std::to_string(::getpid()) + ".json");
  const auto in_file = [&](const std::filesystem::path& path) {
    const TuningCacheScope cache(path);
    return run(options(true, false), {1, 96, 24, 24}, c).describe;
  };
  EXPECT_NE(in_file(file).find("(tuned: "), std::string::npos);
  std::ifstream in(file);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_NE(text.find("f16 nchw, 96 channels"), std::string::npos) << text;
  // Another path is another process, as far as the cache knows.
  const std::filesystem::path copy = file.string() + ".copy", wrong = file.string() + ".wrong";
  std::ofstream(copy) << text;
  EXPECT_NE(in_file(copy).find("(tuned, from the cache)"), std::string::npos);
  const std::size_t lanes = text.find(" lanes=");
  ASSERT_NE(lanes, std::string::npos);
  std::ofstream(wrong) << text.replace(lanes, 7, " lanes=7");
  EXPECT_NE(in_file(wrong).find("(tuned: "), std::string::npos) << "a configuration that there is not";
  for (const auto& path : {file, copy, wrong}) std::filesystem::remove(path);
}

// The kernel says what runs; a plan table that shows one line for everything would show nothing.
TEST(RMSNorm2dGpuPaths, FormatsAndSizesTakeDifferentKernels) {
  FRIEZE_NEEDS_GPU();
  std::set<std::string> lines;
  for (const Format format : kFormats) {
    for (const std::int64_t c : {64, 65536}) {
      lines.insert(run(options(true, false), {1, c, 2, 8}, {.inputs = {}, .dtype = DType::bf16, .format = format}).describe);
    }
  }
  lines.insert(run(options(true, false), {1, 64, 2, 8}, {.inputs = {}, .dtype = DType::bf16, .padded_strides = true}).describe);
  EXPECT_FALSE(lines.contains(""));
  EXPECT_GE(lines.size(), 3U);
}

}  // namespace
}  // namespace frieze

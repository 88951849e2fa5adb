// DC-AE against golden values of weights made by formula: two models that between them reach every kind of block. The values are from
// a float64 evaluation of the architecture; diffusers' modules in float32 agree within 6.1e-6.
#include <gtest/gtest.h>

#include <unistd.h>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <numeric>

#include <frieze/graph/session.h>

#include "models/dc_ae_formula.h"
#include "support/parity.h"

namespace frieze::test {
namespace {

struct Golden {
  const char* name;
  DcAeConfig config;
  std::int64_t height, width;
  double input0, encoder_params, decoder_params;
  double z_sum, z_abs;
  std::vector<float> z_first, z_last;  // z[:,0,0], z[:,last,last]
  double y_sum, y_abs;
  std::vector<std::pair<std::pair<int, int>, std::vector<float>>> y;  // pixel (row, column) -> colours
  std::vector<double> encoder_abs, decoder_abs;                       // sum of |values| after each part
};

std::vector<DcAeStage> stages(const std::vector<int>& widths, const std::vector<int>& depths, const std::vector<int>& multiscale) {
  std::vector<DcAeStage> out(widths.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].block = i < 2 ? DcAeBlock::residual : DcAeBlock::efficient_vit;
    out[i].width = widths[i];
    out[i].depth = depths[i];
    if (i >= 2) out[i].multiscale = multiscale;
  }
  return out;
}

Golden g1() {
  DcAeConfig c;
  c.latent_channels = 8, c.head_dim = 4;
  c.encoder = stages({8, 16, 16, 32}, {2, 1, 2, 1}, {5});
  c.decoder = stages({8, 16, 16, 32}, {1, 2, 1, 2}, {5});
  c.pixel_unshuffle = c.pixel_shuffle = false;
  return {"G1",
          c,
          8,
          16,
          0.598066,
          55240,
          74651,
          -5.136196,
          33.855746,
          {1.119498F, -3.125934F, -2.983129F, -3.388702F, -0.771285F, 3.634295F, -1.720208F, 2.103917F},
          {1.883382F, -1.703593F, 2.665499F, -1.209597F, -3.695318F, -0.730413F, -0.167792F, 2.953185F},
          69.364717,
          194.541076,
          {{{0, 0}, {-0.562263F, 0.216022F, 0.466290F}},
           {{1, 2}, {-0.034043F, 0.434645F, 1.031466F}},
           {{4, 8}, {0.813525F, -0.833059F, -0.705335F}},
           {{7, 15}, {0.656874F, 0.402143F, 0.021976F}}},
          {460.619, 655.059, 238.434, 175.002, 194.750},
          {143.986, 187.152, 490.726, 2306.30, 6177.07, 925.120}};
}

Golden g2() {
  DcAeConfig c;
  c.latent_channels = 8, c.head_dim = 8;
  c.encoder = stages({8, 16, 32, 32}, {0, 2, 1, 2}, {});
  c.decoder = stages({8, 16, 32, 32}, {0, 2, 1, 2}, {});
  for (int i = 0; i < 2; ++i) {
    c.decoder[static_cast<std::size_t>(i)].norm = DcAeNorm::batch;
    c.decoder[static_cast<std::size_t>(i)].activation = Activation::relu;
  }
  return {"G2",
          c,
          24,
          16,
          0.598066,
          73192,
          126892,
          95.063849,
          138.770594,
          {3.845748F, 6.324823F, -3.087038F, 2.486277F, 1.943192F, -2.232688F, 2.413654F, 5.358086F},
          {2.515803F, 6.827047F, 10.003676F, 0.567371F, 0.477769F, -1.777006F, -0.166142F, 0.214494F},
          74.592003,
          734.602145,
          {{{0, 0}, {0.716916F, 0.215220F, -0.116538F}},
           {{1, 2}, {-0.417177F, 0.353538F, -0.298938F}},
           {{12, 8}, {-1.335428F, 0.142509F, -0.579913F}},
           {{23, 15}, {0.427124F, 0.518076F, -0.228864F}}},
          {699.823, 699.823, 1379.29, 438.934, 555.617},
          {678.596, 744.045, 3702.36, 15067.4, 15067.4, 1405.13}};
}

double sum_abs(const std::vector<float>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0, [](double sum, float v) { return sum + std::abs(v); });
}
double sum(const std::vector<float>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// Runs one half as traced: the sum of |values| after each part.
std::vector<double> stage_sums(const Module& half, const std::vector<std::string>& parts, const InputSpec& input,
                               const std::vector<float>& values, const Device& device) {
  const std::string prefix = half.path() + ".";
  Session net = compile(half, {input}, device, {.passes = {.rewrite = false, .fuse = false, .formats = false}, .keep_values = true});
  net.input().copy_from(values);
  net.run();
  std::vector<double> sums;
  for (const std::string& part : parts) {
    // The last step of the part. The decoder's head ends with a shortcut that is named after the decoder; an empty stage has no steps.
    const bool head = part == "conv_in" && prefix == "decoder.";
    double last = sums.empty() ? 0 : sums.back();
    for (const Step& step : net.plan().steps) {
      if (head ? step.path == prefix + "add" : step.path == prefix + part || step.path.starts_with(prefix + part + ".")) {
        last = sum_abs(net.value(step.output()).floats());
      }
    }
    sums.push_back(last);
  }
  return sums;
}

const std::vector<std::string> kEncoderParts{"conv_in", "down_blocks.0", "down_blocks.1", "down_blocks.2", "down_blocks.3"};
const std::vector<std::string> kDecoderParts{"conv_in", "up_blocks.3", "up_blocks.2", "up_blocks.1", "up_blocks.0", "norm_out"};

class Formula : public ::testing::Test {
 protected:
  // Written and read as a checkpoint, so that the names are tested too.
  void prepare(const Golden& g) {
    model = std::make_unique<DcAe>(g.config);
    const std::filesystem::path file =
        std::filesystem::temp_directory_path() / ("frieze-formula-" + std::string(g.name) + std::to_string(::getpid()) + ".safetensors");
    save_safetensors(file, formula_checkpoint(*model));
    load_dc_ae(*model, Weights::open(file));
    std::filesystem::remove(file);
  }

  std::vector<float> run(const Module& half, const InputSpec& input, const std::vector<float>& values, const Device& device, bool rewrite) {
    CompileOptions options;
    options.passes.rewrite = rewrite;
    options.tune = false;
    Session net = compile(half, {input}, device, options);
    net.input().copy_from(values);
    net.poison();
    net.run();
    return net.output().floats();
  }

  // `tolerance` absolute for single values; sums of n values get n times as much at the very most, 10 times in practice.
  void expect_golden(const Golden& g, const Device& device, bool rewrite, double z_tolerance, double y_tolerance) {
    prepare(g);
    const InputSpec image{"image", {1, 3, g.height, g.width}};
    const std::vector<float> x = formula_image(3 * g.height * g.width);
    ASSERT_NEAR(x[0], g.input0, 1e-6);
    const std::vector<float> z = run(*model->encoder, image, x, device, rewrite);
    const std::int64_t h = g.height / 8, w = g.width / 8;
    ASSERT_EQ(z.size(), static_cast<std::size_t>(8 * h * w));
    for (std::size_t c = 0; c < 8; ++c) {
      EXPECT_NEAR(z[c * static_cast<std::size_t>(h * w)], g.z_first[c], z_tolerance) << "channel " << c;
      EXPECT_NEAR(z[(c + 1) * static_cast<std::size_t>(h * w) - 1], g.z_last[c], z_tolerance) << "channel " << c;
    }
    EXPECT_NEAR(sum(z), g.z_sum, 10 * z_tolerance);
    EXPECT_NEAR(sum_abs(z), g.z_abs, 10 * z_tolerance);
    const InputSpec latent{"latent", {1, 8, h, w}};
    const std::vector<float> y = run(*model->decoder, latent, z, device, rewrite);
    ASSERT_EQ(y.size(), x.size());
    for (const auto& [at, colours] : g.y) {
      for (std::size_t c = 0; c < 3; ++c) {
        const std::int64_t i = (static_cast<std::int64_t>(c) * g.height + at.first) * g.width + at.second;
        EXPECT_NEAR(y[static_cast<std::size_t>(i)], colours[c], y_tolerance) << "pixel " << at.first << ',' << at.second << " colour " << c;
      }
    }
    EXPECT_NEAR(sum(y), g.y_sum, 30 * y_tolerance);
    EXPECT_NEAR(sum_abs(y), g.y_abs, 30 * y_tolerance);
    if (HasFailure() || print_sums) {
      expect_sums("encoder", kEncoderParts, stage_sums(*model->encoder, kEncoderParts, image, x, device), g.encoder_abs);
      expect_sums("decoder", kDecoderParts, stage_sums(*model->decoder, kDecoderParts, latent, z, device), g.decoder_abs);
    }
  }

  // The golden sums have six digits.
  static void expect_sums(const std::string& half, const std::vector<std::string>& parts, const std::vector<double>& sums,
                          const std::vector<double>& golden) {
    std::string table;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      table += "\n  " + half + " " + parts[i] + ": sum |x| = " + std::to_string(sums[i]) + ", golden " + std::to_string(golden[i]);
    }
    for (std::size_t i = 0; i < parts.size(); ++i) EXPECT_NEAR(sums[i], golden[i], 1e-5 * golden[i]) << parts[i] << table;
    if (HasFailure()) std::cerr << table << '\n';
  }

  std::unique_ptr<DcAe> model;
  bool print_sums = false;  // else only after a failure
};

TEST_F(Formula, EveryPartHasItsGoldenSum) {
  print_sums = true;
  expect_golden(g1(), Device::reference(), false, 2e-5, 2e-5);
  expect_golden(g2(), Device::reference(), false, 2e-5, 2e-5);
}

class FormulaForms : public Formula, public ::testing::WithParamInterface<bool> {};

TEST_P(FormulaForms, G1OnTheCpu) { expect_golden(g1(), Device::reference(), GetParam(), 2e-5, 2e-5); }
TEST_P(FormulaForms, G2OnTheCpu) { expect_golden(g2(), Device::reference(), GetParam(), 2e-5, 2e-5); }

// 1e-4 of the range of z and y, which are about 7 and 13, and 2 and 3.
TEST_P(FormulaForms, G1OnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_golden(g1(), Device::cuda(), GetParam(), 7e-4, 2e-4);
}
TEST_P(FormulaForms, G2OnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_golden(g2(), Device::cuda(), GetParam(), 13e-4, 3e-4);
}

INSTANTIATE_TEST_SUITE_P(DcAe, FormulaForms, testing::Bool(), [](const auto& info) { return info.param ? "Rewritten" : "Exact"; });

TEST(DcAeFormula, TheModelsHaveTheirNumberOfParameters) {
  for (const Golden& g : {g1(), g2()}) {
    DcAe model(g.config);
    std::int64_t encoder = 0, decoder = 0;
    const Module& root = model;
    root.visit_parameters([&](const std::string& key, const Parameter& p) {
      if (key.find("running_") == std::string::npos) (key.starts_with("encoder.") ? encoder : decoder) += p.shape.elements();
    });
    EXPECT_EQ(encoder, g.encoder_params) << g.name;
    EXPECT_EQ(decoder, g.decoder_params) << g.name;
  }
}

}  // namespace
}  // namespace frieze::test

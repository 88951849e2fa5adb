// The commands and numbers that are none: they fail, name the layer, and write nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include <frieze/models/quickstart.h>

#include "tools/command.h"
#include "tools/image/image.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

const std::string kPhoto = source_path("tests/data/chelsea.png");
const std::string kModel = source_path("tests/golden/dc_ae/sana");

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Finite : public ::testing::Test {
 protected:
  // The quickstart's weights with the first value of `key`, or all of them, changed.
  std::string quickstart_with(const std::string& key, float value, bool all = false) {
    Quickstart model;
    sharpen(model);
    std::map<std::string, HostTensor> tensors;
    model.visit_parameters([&](const std::string& name, Parameter& p) {
      std::vector<float> values = p.values;
      if (name == key) std::fill_n(values.begin(), all ? values.size() : 1, value);
      tensors.emplace(name, HostTensor({p.shape}, values));
    });
    save_safetensors(folder.file("w.safetensors"), tensors);
    return folder.file("w.safetensors");
  }
  // A DC-AE whose tensor `key` is `factor` times what it was.
  std::string dcae_with(const std::string& key, float factor) {
    const std::filesystem::path to = folder.file("model");
    std::filesystem::create_directory(to);
    std::filesystem::copy_file(kModel + "/config.json", to / "config.json", std::filesystem::copy_options::overwrite_existing);
    const Weights weights = Weights::open(kModel + "/diffusion_pytorch_model.safetensors.index.json");
    std::map<std::string, HostTensor> tensors;
    for (const auto& [name, _] : weights.tensors()) {
      const HostTensor tensor = weights.tensor(name);
      std::vector<float> values = tensor.floats();
      for (float& v : values) v *= name == key ? factor : 1;
      tensors.emplace(name, HostTensor({tensor.spec().shape}, values));
    }
    save_safetensors(to / "diffusion_pytorch_model.safetensors", tensors);
    return to;
  }
  void expect_refusal(const std::vector<std::string>& arguments, const std::vector<std::string>& says) {
    const auto before = folder.count();
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    for (const std::string& part : says) EXPECT_TRUE(holds(outcome.err, part)) << "expected '" << part << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), before) << "something was written";
  }
  std::string small_photo() {
    const tools::Image whole = tools::read_image(kPhoto);
    tools::Image crop{32, 24, 3, {}};
    for (int row = 0; row < 24; ++row) {
      const auto from = whole.pixels.begin() + (90 + row) * whole.width * 3;
      crop.pixels.insert(crop.pixels.end(), from, from + 32 * 3);
    }
    tools::write_image(folder.file("in.png"), crop);
    return folder.file("in.png");
  }
  TempFolder folder;
};

TEST_F(Finite, RunWritesNoPictureOfAModelThatOverflows) {
  const std::string weights = quickstart_with("stem.weight", 6000, true), photo = small_photo();
  const std::vector<std::string> run{
      "run", "quickstart", "--device",           "cpu",   "--weights", weights,     "--in",
      photo, "--out",      folder.file("y.png"), "--tap", "*",         "--tap-out", folder.file("taps.safetensors")};
  std::vector<std::string> half = run, wide = run;
  half.insert(half.end(), {"--dtype", "f16"}), wide.insert(wide.end(), {"--dtype", "bf16"});
  expect_refusal(half, {"the model's output holds", "is the first to make some", "in f16; bf16 or f32 hold larger values"});
  EXPECT_EQ(run_frieze(wide).status, 0);
}

TEST_F(Finite, WeightsThatAreNoNumbersAreNamed) {
  const std::string photo = small_photo();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::string weights = quickstart_with("blocks.0.conv1.bias", bad);
    expect_refusal({"run", "quickstart", "--device", "cpu", "--weights", weights, "--in", photo, "--out", folder.file("y.png")},
                   {"tensor 'blocks.0.conv1.bias': 1 of 16 values are NaN or Inf"});
    expect_refusal({"verify", "quickstart", "--device", "cpu", "--weights", weights, "--size", "16x16"}, {"tensor 'blocks.0.conv1.bias'"});
  }
  const std::string weights = quickstart_with("head.weight", 1e5F);
  expect_refusal(
      {"run", "quickstart", "--device", "cpu", "--weights", weights, "--dtype", "f16", "--in", photo, "--out", folder.file("y.png")},
      {"head.weight: 1 of 432 values are too large for f16, the largest is 100000: run in bf16 or f32"});
}

TEST_F(Finite, VerifyFailsOnAModelThatOverflows) {
  const std::string weights = quickstart_with("stem.weight", 6000, true);
  const std::vector<std::string> verify{"verify", "quickstart", "--device", "cpu", "--weights", weights, "--size", "16x16", "--dtype"};
  std::vector<std::string> half = verify, wide = verify;
  half.push_back("f16"), wide.push_back("bf16");
  const Outcome outcome = run_frieze(half);
  EXPECT_EQ(outcome.status, 1) << outcome.out;
  EXPECT_TRUE(holds(outcome.out, "first NaN or Inf: ")) << outcome.out;
  EXPECT_TRUE(holds(outcome.out, "verify: FAILED")) << outcome.out;
  EXPECT_EQ(run_frieze(wide).status, 0);
}

TEST_F(Finite, DcaeWritesNothingOfAModelThatOverflows) {
  const std::string photo = small_photo(), model = dcae_with("encoder.conv_in.weight", 3e4F);
  expect_refusal(
      {"vae", "encode", "--model", model, "--device", "cpu", "--dtype", "f16", "--in", photo, "--out", folder.file("z.safetensors")},
      {"is the first to make some", "bf16 or f32"});
  expect_refusal({"vae", "roundtrip", "--model", model, "--device", "cpu", "--dtype", "f16", "--in", photo, "--out", folder.file("y.png")},
                 {"is the first to make some"});
}

TEST_F(Finite, WhatTheInputHoldsIsToldAndPassedOn) {
  std::vector<float> latent(32 * 2 * 2, 0.5F);
  const Weights weights = Weights::open(kModel + "/diffusion_pytorch_model.safetensors.index.json");
  const std::int64_t channels = weights.at("decoder.conv_in.weight").shape[1];
  latent.resize(static_cast<std::size_t>(channels) * 4, 0.5F);
  latent[1] = std::numeric_limits<float>::quiet_NaN();
  save(folder.file("z.safetensors"), {{"latent", {{1, channels, 2, 2}, DType::f32, latent}}});
  const Outcome outcome = run_frieze(
      {"vae", "decode", "--model", kModel, "--device", "cpu", "--in", folder.file("z.safetensors"), "--out", folder.file("y.safetensors")});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(holds(outcome.err, "the input holds 1 NaN and 0 Inf, which the model passes on")) << outcome.err;
}

TEST_F(Finite, OpSaysWhatTheFormulaGives) {
  save(folder.file("x.safetensors"), {{"x", {{1, 1, 1, 2}, DType::f16, {60000, 1}}}});
  const Outcome outcome = run_frieze(
      {"op", "scale", "--device", "cpu", "--set", "factor=2", "--in", folder.file("x.safetensors"), "--out", folder.file("y.safetensors")});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(holds(outcome.out, "y holds 0 NaN and 1 Inf among 2 values")) << outcome.out;
}

}  // namespace
}  // namespace frieze::test

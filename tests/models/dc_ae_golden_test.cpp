// DC-AE against the real diffusers package: models that it saved, with what it computed from them. tools/golden/dc_ae.py made them.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include <frieze/core/error.h>
#include <frieze/graph/session.h>
#include <frieze/models/dc_ae/checkpoint.h>
#include <frieze/models/dc_ae/tiling.h>

#include "support/parity.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

const std::string kFolder = FRIEZE_SOURCE_DIR "/tests/golden/dc_ae/";
const std::vector<std::string> kCases{"sana", "in", "lite", "odd"};

std::unique_ptr<DcAe> open(const std::string& name, const std::string& weights = "") {
  auto model = std::make_unique<DcAe>(read_dc_ae_config(kFolder + name));
  load_dc_ae(*model, open_dc_ae_weights(kFolder + name + "/" + weights));
  return model;
}

Weights golden(const std::string& name) { return Weights::open(kFolder + name + "/golden.safetensors"); }

HostTensor f32(const HostTensor& t) { return t.converted(DType::f32, Format::nchw); }

HostTensor run(const Module& half, const HostTensor& input, const Device& device, DType dtype, bool rewrite = true) {
  CompileOptions options;
  options.passes.rewrite = rewrite;
  options.tune = false;
  Session net = compile(half, {{"x", input.spec().shape, dtype}}, device, options);
  net.input().copy_from(input);
  net.poison();
  net.run();
  return f32(net.output().to_host());
}

// f32: the sums of 20 to 60 layers, in another order than PyTorch's. 16 bits: an error of one part in 2^12 (f16) or 2^9 (bf16) at every
// store on the way; diffusers' own bf16 run is 0.3 % to 7 % of the range away from its f32 run on these models, this one up to 2.3 %.
double share_for(DType t) { return t == DType::f32 ? 2e-6 : t == DType::f16 ? 4e-3 : 3e-2; }

void expect_golden(const std::string& name, const DcAe& model, const Device& device, DType dtype, double tolerance, bool rewrite = true) {
  const Weights g = golden(name);
  EXPECT_LE(share_of_range(run(*model.encoder, f32(g.tensor("image")), device, dtype, rewrite), g.tensor("latent")), tolerance)
      << name << ' ' << dtype;
  EXPECT_LE(share_of_range(run(*model.decoder, g.tensor("latent"), device, dtype, rewrite), g.tensor("decoded")), tolerance)
      << name << ' ' << dtype;
}

TEST(DcAeGolden, CpuEqualsDiffusers) {
  for (const std::string& name : kCases) {
    for (const bool rewrite : {true, false})
      expect_golden(name, *open(name), Device::reference(), DType::f32, share_for(DType::f32), rewrite);
  }
}

TEST(DcAeGolden, SixteenBitsStayWithinTheirBudget) {
  for (const std::string& name : kCases) {
    for (const DType t : {DType::f16, DType::bf16}) expect_golden(name, *open(name), Device::reference(), t, share_for(t));
  }
}

TEST(DcAeGolden, GpuEqualsDiffusers) {
  FRIEZE_NEEDS_GPU();
  for (const std::string& name : kCases) {
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      expect_golden(name, *open(name), Device::cuda(), t, t == DType::f32 ? 1e-4 : share_for(t));
    }
  }
}

TEST(DcAeGolden, OriginalNamesGiveTheSameModel) {
  for (const std::string name : {"sana", "in"}) {
    const auto a = open(name), b = open(name, "original.safetensors");
    std::vector<const Parameter*> expected;
    const Module &first = *a, &second = *b;
    first.visit_parameters([&](const std::string&, const Parameter& p) { expected.push_back(&p); });
    std::size_t i = 0;
    second.visit_parameters([&](const std::string& key, const Parameter& p) { EXPECT_EQ(p.values, expected[i++]->values) << key; });
    EXPECT_EQ(i, expected.size());
  }
}

TEST(DcAeGolden, TilesEqualDiffusers) {
  const auto model = open("sana");
  const Weights g = golden("sana");
  const DcAeTiling tiling{32, 24};
  std::set<std::string> shapes;
  int calls = 0, told = 0;
  const auto runner = [&](const Module& half) {
    return [&](const HostTensor& tile) {
      shapes.insert(to_string(tile.spec().shape));
      ++calls;
      return run(half, tile, Device::reference(), DType::f32);
    };
  };
  const auto progress = [&](int done, int total) {
    EXPECT_EQ(done, ++told);
    EXPECT_EQ(total, 6);
  };
  const HostTensor z = tiled_encode(f32(g.tensor("tiled_image")), model->config, tiling, runner(*model->encoder), progress);
  EXPECT_LE(share_of_range(z, g.tensor("tiled_latent")), share_for(DType::f32));
  EXPECT_EQ(calls, 6);
  EXPECT_EQ(told, 6);
  EXPECT_EQ(shapes.size(), 4U) << "whole tiles, those of each border, and the corner";
  const HostTensor y = tiled_decode(g.tensor("tiled_latent"), model->config, tiling, runner(*model->decoder));
  EXPECT_LE(share_of_range(y, g.tensor("tiled_decoded")), share_for(DType::f32));
  EXPECT_TRUE(needs_tiles(32, 33, tiling));
  EXPECT_FALSE(needs_tiles(32, 32, tiling));
  for (const DcAeTiling bad : {DcAeTiling{32, 0}, DcAeTiling{32, 40}, DcAeTiling{32, 20}, DcAeTiling{36, 24}}) {
    EXPECT_THROW(tiled_encode(g.tensor("latent"), model->config, bad, runner(*model->encoder)), OptionError);
  }
  EXPECT_EQ(default_tiling(model->config).stride, 448);
  EXPECT_EQ(default_tiling(dc_ae_variant("f128c512-in-1.0")).stride, 384) << "448 is no multiple of 128";
}

}  // namespace
}  // namespace frieze::test

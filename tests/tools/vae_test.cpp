// `frieze vae` as its users meet it, on models that diffusers saved, and with everything that can be wrong with them.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include <frieze/core/weights.h>

#include "support/parity.h"
#include "support/reference.h"
#include "tools/command.h"
#include "tools/image/image.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

const std::string kGolden = FRIEZE_SOURCE_DIR "/tests/golden/dc_ae/";
const std::string kPhoto = FRIEZE_SOURCE_DIR "/tests/data/chelsea.png";
using Arguments = std::vector<std::string>;

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class Vae : public ::testing::Test {
 protected:
  Outcome vae(const std::string& task, const std::string& model, const Arguments& more) {
    Arguments all{"vae", task, "--model", model, "--device", "cpu"};
    all.insert(all.end(), more.begin(), more.end());
    return run_frieze(all);
  }
  std::string expect_success(const std::string& task, const std::string& model, const Arguments& more) {
    const Outcome outcome = vae(task, model, more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    return outcome.out;
  }
  nlohmann::json expect_json(const std::string& task, const std::string& model, Arguments more) {
    more.push_back("--json");
    return nlohmann::json::parse(expect_success(task, model, more), nullptr, false);
  }
  // Exit 2, one line that says all of `says`, and nothing written.
  void expect_refusal(const std::string& task, const std::string& model, const Arguments& more, const Arguments& says) {
    const auto before = folder.count();
    const Outcome outcome = vae(task, model, more);
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& part : says) EXPECT_TRUE(holds(outcome.err, part)) << "expected '" << part << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), before) << outcome.err;
  }
  // A picture of this size, cut from the photograph.
  std::string photo(const std::string& name, int width, int height) {
    static const tools::Image whole = tools::read_image(kPhoto);
    tools::Image crop{width, height, 3, {}};
    for (int row = 0; row < height; ++row) {
      const auto from = whole.pixels.begin() + ((90 + row) * whole.width + 140) * 3;
      crop.pixels.insert(crop.pixels.end(), from, from + width * 3);
    }
    tools::write_image(folder.file(name), crop);
    return folder.file(name);
  }
  // A copy of a golden model that a test may spoil: its config and its tensors.
  std::string copy_model(const std::string& name, const std::function<void(nlohmann::json&)>& config,
                         const std::function<void(RawTensors&)>& tensors) {
    const std::string to = folder.file("model");
    std::filesystem::create_directories(to);
    nlohmann::json json = nlohmann::json::parse(slurp(kGolden + name + "/config.json"));
    if (config) config(json);
    std::ofstream(to + "/config.json") << json.dump();
    const Weights from = Weights::open(kGolden + name + "/diffusion_pytorch_model.safetensors");
    RawTensors raw;
    for (const auto& [key, t] : from.tensors()) {
      if (t.dtype != "I64") raw[key] = {t.shape, DType::f32, from.floats(key)};
    }
    if (tensors) tensors(raw);
    save(to + "/diffusion_pytorch_model.safetensors", raw);
    return to;
  }

  TempFolder folder;
};

TEST_F(Vae, TensorsInAndOutEqualDiffusers) {
  for (const std::string name : {"sana", "in", "lite", "odd"}) {
    const std::string golden = kGolden + name + "/golden.safetensors";
    expect_success("encode", kGolden + name, {"--in", golden, "--out", folder.file("z.safetensors")});
    expect_success("decode", kGolden + name, {"--in", golden, "--out", folder.file("y.safetensors"), "--exact", "--no-tune"});
    const Weights g = Weights::open(golden);
    EXPECT_LE(share_of_range(Weights::open(folder.file("z.safetensors")).tensor("latent"), g.tensor("latent")), 2e-6) << name;
    EXPECT_LE(share_of_range(Weights::open(folder.file("y.safetensors")).tensor("image"), g.tensor("decoded")), 2e-6) << name;
  }
}

TEST_F(Vae, TensorsOnTheGpuEqualDiffusers) {
  FRIEZE_NEEDS_GPU();
  for (const std::string name : {"sana", "in", "lite", "odd"}) {
    const std::string golden = kGolden + name + "/golden.safetensors";
    for (const bool exact : {false, true}) {
      Arguments encode{"vae",      "encode", "--model", kGolden + name, "--in", golden, "--out", folder.file("z.safetensors"),
                       "--device", "cuda"};
      Arguments decode{"vae",      "decode", "--model", kGolden + name, "--in", golden, "--out", folder.file("y.safetensors"),
                       "--device", "cuda"};
      if (exact) encode.push_back("--exact"), decode.push_back("--exact");
      for (const Arguments& arguments : {encode, decode}) {
        const Outcome outcome = run_frieze(arguments);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
      }
      const Weights g = Weights::open(golden);
      EXPECT_LE(share_of_range(Weights::open(folder.file("z.safetensors")).tensor("latent"), g.tensor("latent")), 1e-4) << name;
      EXPECT_LE(share_of_range(Weights::open(folder.file("y.safetensors")).tensor("image"), g.tensor("decoded")), 1e-4) << name;
    }
  }
}

TEST_F(Vae, EveryStepOnTheGpuIsVerified) {
  FRIEZE_NEEDS_GPU();
  for (const std::string name : {"sana", "in", "lite", "odd"}) {
    for (const std::string dtype : {"f32", "f16", "bf16"}) {
      const Outcome outcome = run_frieze({"verify", "dcae:" + kGolden + name, "--size", "40x24", "--device", "cuda", "--dtype", dtype});
      EXPECT_EQ(outcome.status, 0) << name << ' ' << dtype << '\n' << outcome.err << outcome.out;
    }
  }
}

TEST_F(Vae, OriginalCheckpointsAreRead) {
  for (const std::string name : {"sana", "in"}) {
    expect_success("encode", kGolden + name,
                   {"--in", kGolden + name + "/golden.safetensors", "--out", folder.file("z.safetensors"), "--weights",
                    kGolden + name + "/original.safetensors"});
    EXPECT_LE(share_of_range(Weights::open(folder.file("z.safetensors")).tensor("latent"),
                             Weights::open(kGolden + name + "/golden.safetensors").tensor("latent")),
              2e-6)
        << name;
  }
}

TEST_F(Vae, AnyPictureSizeIsPaddedAndCroppedBack) {
  const std::string picture = photo("photo.png", 43, 30);
  const std::string text = expect_success("encode", kGolden + "sana", {"--in", picture, "--out", folder.file("z.safetensors")});
  EXPECT_TRUE(holds(text, "43x30 padded to 48x32")) << text;
  EXPECT_EQ(Weights::open(folder.file("z.safetensors")).at("latent").shape, (Shape{1, 4, 4, 6}));
  for (const std::string out : {"y.png", "y.jpg", "y.safetensors"}) {
    const std::string again = expect_success("decode", kGolden + "sana", {"--in", folder.file("z.safetensors"), "--out", folder.file(out)});
    EXPECT_TRUE(holds(again, "43x30, cropped from 48x32")) << again;
  }
  EXPECT_EQ(Weights::open(folder.file("y.safetensors")).at("image").shape, (Shape{1, 3, 30, 43}));
  for (const std::string out : {"y.png", "y.jpg"}) {
    const tools::Image image = tools::read_image(folder.file(out));
    EXPECT_EQ(image.width, 43);
    EXPECT_EQ(image.height, 30);
  }
  const std::string both = expect_success("roundtrip", kGolden + "sana", {"--in", picture, "--out", folder.file("r.png")});
  EXPECT_TRUE(holds(both, "padded to 48x32 and cropped back") && holds(both, "PSNR") && holds(both, "dB")) << both;
  const tools::Image a = tools::read_image(folder.file("r.png")), b = tools::read_image(folder.file("y.png"));
  ASSERT_EQ(a.pixels.size(), b.pixels.size());
  for (std::size_t i = 0; i < a.pixels.size(); ++i) ASSERT_NEAR(a.pixels[i], b.pixels[i], 1.01 / 255) << i;
}

TEST_F(Vae, SixteenBits) {
  const std::string picture = photo("photo.png", 32, 24);
  const double f32 = expect_json("roundtrip", kGolden + "sana", {"--in", picture})["files"][0]["psnr_db"];
  for (const std::string dtype : {"f16", "bf16"}) {
    const auto json = expect_json("roundtrip", kGolden + "sana", {"--in", picture, "--dtype", dtype});
    EXPECT_EQ(json["dtype"], dtype);
    EXPECT_NEAR(json["files"][0]["psnr_db"].get<double>(), f32, 0.5) << dtype;
  }
}

TEST_F(Vae, ASetOfPicturesSharesOneGraphPerSizeAndEqualsOneByOne) {
  std::filesystem::create_directory(folder.file("in"));
  constexpr int kPhotos = 50;  // of 3 sizes
  for (int i = 0; i < kPhotos; ++i) photo("in/p" + std::to_string(i) + ".png", i % 3 == 0 ? 24 : 16, i % 3 == 2 ? 16 : 24);
  const auto json = expect_json("roundtrip", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("out")});
  EXPECT_EQ(json["files"].size(), 50U);
  EXPECT_EQ(json["captures"], 3);
  for (int i = 0; i < kPhotos; i += 7) {
    const std::string name = "p" + std::to_string(i) + ".png";
    expect_success("roundtrip", kGolden + "sana", {"--in", folder.file("in/" + name), "--out", folder.file("one.png")});
    EXPECT_EQ(slurp(folder.file("one.png")), slurp(folder.file("out/" + name))) << name;
  }
  expect_success("encode", kGolden + "sana",
                 {"--in", folder.file("in/p0.png"), "--in", folder.file("in/p1.png"), "--out", folder.file("z")});
  expect_success("decode", kGolden + "sana", {"--in", folder.file("z"), "--out", folder.file("y")});
  EXPECT_EQ(tools::read_image(folder.file("y/p1.png")).width, 16);
  expect_refusal("encode", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("one.png")}, {"folder"});
  expect_refusal("decode", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("y")}, {"no .safetensors"});
}

// Images of one size go through the graph together, each with the bits that it has alone.
TEST_F(Vae, Batches) {
  std::filesystem::create_directory(folder.file("in"));
  for (int i = 0; i < 8; ++i) photo("in/p" + std::to_string(i) + ".png", i % 3 == 0 ? 24 : 16, 16);  // 3 and 5, mixed
  const auto json = expect_json("encode", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("z"), "--batch", "3"});
  EXPECT_EQ(json["files"].size(), 8U);
  EXPECT_EQ(json["captures"], 2);
  EXPECT_EQ(json["batch"], 3);
  EXPECT_GT(json["images_per_s"].get<double>(), 0);
  std::set<std::string> reported;
  for (const auto& file : json["files"]) reported.insert(file["in"]);
  EXPECT_EQ(reported.size(), 8U);
  for (const std::string name : {"p0", "p1", "p6", "p7"}) {
    const std::string in = folder.file("in/" + name + ".png");
    expect_success("encode", kGolden + "sana", {"--in", in, "--out", folder.file("one.safetensors"), "--batch", "3"});
    EXPECT_EQ(slurp(folder.file("one.safetensors")), slurp(folder.file("z/" + name + ".safetensors"))) << name;
  }
  const std::string text =
      expect_success("decode", kGolden + "sana", {"--in", folder.file("z"), "--out", folder.file("y"), "--batch", "2"});
  EXPECT_TRUE(holds(text, "batches of 2") && holds(text, "8 files") && holds(text, "images/s")) << text;
  const auto both = expect_json("roundtrip", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("r"), "--batch", "5"});
  EXPECT_EQ(both["captures"], 2);
  for (int i = 0; i < 8; ++i) {
    const std::string name = "p" + std::to_string(i) + ".png";
    const tools::Image a = tools::read_image(folder.file("y/" + name)), b = tools::read_image(folder.file("r/" + name));
    ASSERT_EQ(a.pixels.size(), b.pixels.size()) << name;
    for (std::size_t k = 0; k < a.pixels.size(); ++k) ASSERT_NEAR(a.pixels[k], b.pixels[k], 1.01 / 255) << name << ' ' << k;
  }
  // In tiles too.
  const Arguments tiles{"--batch", "2", "--tile", "--tile-size", "16", "--tile-stride", "8"};
  const auto tiled = [&](const std::string& in, const std::string& out) {
    Arguments all = tiles;
    all.insert(all.end(), {"--in", folder.file(in), "--out", folder.file(out)});
    expect_success("encode", kGolden + "sana", all);
  };
  tiled("in", "tz");
  for (const std::string name : {"p0", "p3", "p6"}) {
    tiled("in/" + name + ".png", "one.safetensors");
    EXPECT_EQ(slurp(folder.file("one.safetensors")), slurp(folder.file("tz/" + name + ".safetensors"))) << name;
  }
  // A file of several images beside files of one: five images in groups of two.
  const HostTensor images = HostTensor({Shape{4, 3, 16, 16}, DType::f32}, std::vector<float>(4 * 3 * 16 * 16, 0.25F));
  RawTensors raw;
  raw["image"] = {images.spec().shape, DType::f32, images.floats()};
  save(folder.file("four.safetensors"), raw);
  expect_success(
      "encode", kGolden + "sana",
      {"--in", folder.file("four.safetensors"), "--in", folder.file("in/p1.png"), "--out", folder.file("mixed"), "--batch", "2"});
  EXPECT_EQ(Weights::open(folder.file("mixed/four.safetensors")).at("latent").shape, (Shape{4, 4, 2, 2}));
  expect_success("encode", kGolden + "sana", {"--in", folder.file("in/p1.png"), "--out", folder.file("one.safetensors"), "--batch", "2"});
  EXPECT_EQ(slurp(folder.file("mixed/p1.safetensors")), slurp(folder.file("one.safetensors")));
}

// What is wrong with one file of a batch costs its neighbours nothing.
TEST_F(Vae, OneOfABatchFails) {
  std::filesystem::create_directory(folder.file("in"));
  for (const std::string name : {"a", "b", "e"}) photo("in/" + name + ".png", 16, 16);
  folder.write("in/c.png", std::string("no picture"));
  RawTensors raw;
  raw["image"] = {{1, 3, 16, 16}, DType::f32, std::vector<float>(3 * 16 * 16, 3e38F)};  // finite, too large for the model
  save(folder.file("in/d.safetensors"), raw);
  const Outcome outcome = vae("encode", kGolden + "sana", {"--in", folder.file("in"), "--out", folder.file("z"), "--batch", "4"});
  EXPECT_EQ(outcome.status, 1) << outcome.out;
  EXPECT_TRUE(holds(outcome.err, "c.png") && holds(outcome.err, "2 of 5 files failed") && holds(outcome.err, "encoder")) << outcome.err;
  for (const std::string name : {"a", "b", "e"}) {
    expect_success("encode", kGolden + "sana",
                   {"--in", folder.file("in/" + name + ".png"), "--out", folder.file("one.safetensors"), "--batch", "4"});
    EXPECT_EQ(slurp(folder.file("one.safetensors")), slurp(folder.file("z/" + name + ".safetensors"))) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder.file("z/d.safetensors")));
}

TEST_F(Vae, BatchAndMemoryAreChecked) {
  const std::string picture = photo("p.png", 16, 16), z = folder.file("z.safetensors");
  for (const std::string value : {"0", "-1", "x", "1.5", "5000"})
    expect_refusal("encode", kGolden + "sana", {"--in", picture, "--out", z, "--batch", value}, {"--batch"});
  expect_refusal("encode", kGolden + "sana", {"--in", picture, "--out", z, "--max-memory", "1K"}, {"memory", "weights"});
  expect_success("encode", kGolden + "sana", {"--in", picture, "--out", z, "--max-memory", "1G"});
  EXPECT_EQ(run_frieze({"dcae", "encode"}).status, 2) << "the command is called vae";
}

TEST_F(Vae, TilesEqualDiffusers) {
  const Weights golden = Weights::open(kGolden + "sana/golden.safetensors");
  RawTensors raw;
  raw["latent"] = {golden.at("tiled_latent").shape, DType::f32, golden.floats("tiled_latent")};
  save(folder.file("z.safetensors"), raw);
  expect_success(
      "decode", kGolden + "sana",
      {"--in", folder.file("z.safetensors"), "--out", folder.file("y.safetensors"), "--tile", "--tile-size", "32", "--tile-stride", "24"});
  EXPECT_LE(share_of_range(Weights::open(folder.file("y.safetensors")).tensor("image"), golden.tensor("tiled_decoded")), 2e-6);
  // The image that diffusers cuts to a multiple of 8 first is padded to one here: only what is well inside is the same.
  const auto json = expect_json(
      "roundtrip", kGolden + "sana",
      {"--in", photo("large.png", 61, 44), "--out", folder.file("r.png"), "--tile", "--tile-size", "32", "--tile-stride", "24"});
  EXPECT_EQ(json["files"][0]["padded_width"], 64);
  EXPECT_EQ(tools::read_image(folder.file("r.png")).width, 61);
  EXPECT_EQ(json["captures"], 8) << "four shapes of tiles, encoder and decoder";
  expect_refusal("roundtrip", kGolden + "sana", {"--in", folder.file("large.png"), "--tile", "--tile-size", "30"}, {"multiples of 8"});
}

TEST_F(Vae, RandomWeightsAreSaidPlainly) {
  const std::string config = copy_model("in", {}, [](RawTensors& t) { t.clear(), t["unused"] = {{1}, DType::f32, {0}}; });
  const std::string picture = photo("photo.png", 16, 8);
  const std::string a = expect_success("roundtrip", config, {"--in", picture, "--weights", "random:7", "--out", folder.file("a.png")});
  EXPECT_TRUE(holds(a, "weights: random, seed 7")) << a;
  expect_success("roundtrip", config, {"--in", picture, "--weights", "random:7", "--out", folder.file("b.png")});
  expect_success("roundtrip", config, {"--in", picture, "--weights", "random:8", "--out", folder.file("c.png")});
  EXPECT_EQ(slurp(folder.file("a.png")), slurp(folder.file("b.png")));
  EXPECT_NE(slurp(folder.file("a.png")), slurp(folder.file("c.png")));
  expect_refusal("roundtrip", config, {"--in", picture, "--weights", "random:x"}, {"random:SEED"});
  expect_refusal("roundtrip", "f32c32-sana-1.0", {"--in", picture}, {"f32c32-sana-1.0", "--weights"});
  expect_refusal("roundtrip", "f32c32-sana-9.9", {"--in", picture, "--weights", "random:1"}, {"f32c32-sana-9.9", "lite-f32c32-sana-1.1"});
}

TEST_F(Vae, AWrongCheckpointNamesItsTensor) {
  const std::string picture = photo("photo.png", 16, 8);
  const std::string key = "decoder.up_blocks.1.1.conv2.weight";
  const std::string model = copy_model("in", {}, [&](RawTensors& t) { t.erase(key); });
  expect_refusal("roundtrip", model, {"--in", picture}, {key, "[16,16,3,3]", "no tensor"});
  copy_model("in", {}, [](RawTensors& t) { t["encoder.surplus"] = {{2, 3}, DType::f32, std::vector<float>(6)}; });
  expect_refusal("roundtrip", model, {"--in", picture}, {"encoder.surplus", "[2,3]"});
  copy_model("in", {}, [&](RawTensors& t) { t[key] = {{16, 8, 3, 3}, DType::f32, std::vector<float>(1152)}; });
  expect_refusal("roundtrip", model, {"--in", picture}, {key, "expected shape [16,16,3,3]", "got [16,8,3,3]"});
  copy_model("in", {}, [](RawTensors& t) {
    t["encoder.down_blocks.3.0.attn.to_k.weight"] = {{8, 16}, DType::f32, std::vector<float>(128)};
  });
  expect_refusal("encode", model, {"--in", picture, "--out", folder.file("z.safetensors")}, {"attn.to_k.weight", "[16,16]", "[8,16]"});
  copy_model("in", {}, [](RawTensors& t) { t["decoder.up_blocks.0.norm.num_batches_tracked"] = {{1}, DType::f32, {0}}; });
  expect_refusal("roundtrip", model, {"--in", picture}, {"num_batches_tracked"});
}

// Encoding needs half of the file, and still finds what is wrong with the names of the other half.
TEST_F(Vae, TheHalfThatIsNotNeededHasItsNames) {
  const std::string picture = photo("photo.png", 16, 8), z = folder.file("z.safetensors");
  const std::string model = copy_model("in", {}, [](RawTensors& t) { t.erase("decoder.up_blocks.1.1.norm.bias"); });
  expect_refusal("encode", model, {"--in", picture, "--out", z}, {"decoder.up_blocks.1.1.norm.bias"});
  copy_model("in", {}, [](RawTensors& t) { t["decoder.surplus"] = {{1}, DType::f32, {0}}; });
  expect_refusal("encode", model, {"--in", picture, "--out", z}, {"decoder.surplus"});
  copy_model("in", {}, [](RawTensors& t) { std::erase_if(t, [](const auto& entry) { return entry.first.starts_with("decoder."); }); });
  expect_success("encode", model, {"--in", picture, "--out", z});
  expect_refusal("decode", model, {"--in", z, "--out", folder.file("y.png")}, {"no tensor 'decoder."});
  expect_refusal("roundtrip", model, {"--in", picture}, {"no tensor 'decoder."});
}

TEST_F(Vae, TheOtherCommandsKnowIt) {
  for (const std::string name : {"dcae", "dcae-encoder", "dcae-decoder"}) {
    const Outcome verified = run_frieze({"verify", name + ":" + kGolden + "sana", "--size", "32x24", "--device", "cpu"});
    EXPECT_EQ(verified.status, 0) << verified.err << verified.out;
    const Outcome random =
        run_frieze({"inspect", name + ":" + kGolden + "in", "--random-weights", "1", "--size", "24x16", "--device", "cpu"});
    EXPECT_EQ(random.status, 0) << random.err;
    EXPECT_TRUE(holds(random.out, "linear_attention2d")) << random.out;
  }
  const auto expect_error = [](const Arguments& arguments, const std::string& says) {
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_TRUE(holds(outcome.err, says)) << outcome.err;
  };
  expect_error({"verify", "dcae:" + kGolden + "sana", "--size", "30x24"}, "multiples of 8");
  expect_error({"verify", "dcae-decoder:" + kGolden + "sana", "--in", kPhoto}, "latent");
  expect_error({"verify", "dcae:f32c32-none"}, "f32c32-none");
  expect_error({"verify", "dcae:f32c32-in-1.0", "--size", "64x64"}, "--random-weights");
}

TEST_F(Vae, AWrongConfigNamesItsField) {
  const std::string picture = photo("photo.png", 16, 8);
  const std::string model = copy_model("in", {}, {});
  const auto refuse = [&](const char* field, const nlohmann::json& value, const Arguments& says) {
    nlohmann::json json = nlohmann::json::parse(slurp(kGolden + "in/config.json"));
    json[field] = value;
    std::ofstream(model + "/config.json") << json.dump();
    Arguments all{"config.json", field};
    all.insert(all.end(), says.begin(), says.end());
    expect_refusal("roundtrip", model, {"--in", picture, "--weights", "random:1"}, all);
  };
  refuse("encoder_block_types", {"ResBlock", "ResBlock", "ResBlock", "UNetBlock"}, {"[3]", "EfficientViTBlock", "UNetBlock"});
  refuse("decoder_block_types", "Other", {"Other"});
  refuse("decoder_norm_types", "layer_norm", {"rms_norm", "batch_norm", "layer_norm"});
  refuse("decoder_act_fns", {"relu", "relu", "gelu", "silu"}, {"[2]", "gelu"});
  refuse("decoder_conv_act_fn", 3, {"relu", "3"});
  refuse("upsample_block_type", "bilinear", {"pixel_shuffle", "bilinear"});
  refuse("downsample_block_type", "pool", {"pixel_unshuffle", "pool"});
  refuse("_class_name", "AutoencoderKL", {"AutoencoderDC", "AutoencoderKL"});
  refuse("latent_channels", 0, {"1 to", "got 0"});
  refuse("latent_channels", 7, {"divisor of", "got 7"});
  refuse("attention_head_dim", "8", {"whole number"});
  refuse("attention_head_dim", 5, {"block_out_channels[3]"});
  refuse("encoder_layers_per_block", {0, 1, 0, 1}, {"[2]"});
  refuse("encoder_layers_per_block", {0, 1, 1}, {"list of 4"});
  refuse("encoder_layers_per_block", {0, 1, 1, 1e9}, {"[3]"});
  refuse("encoder_block_out_channels", {8, 16, 16, 24}, {"[3]"});
  refuse("decoder_block_out_channels", {8, 16, 16}, {"list of 4"});
  const nlohmann::json none = nlohmann::json::array();
  refuse("encoder_qkv_multiscales", {none, none, none, {4}}, {"[3]", "odd"});
  refuse("encoder_qkv_multiscales", {none, none, none, 5}, {"[3]", "list of kernel sizes"});
  refuse("scaling_factor", -1, {"positive"});
  refuse("in_channels", 0.5, {"whole number"});
  refuse("surplus", 1, {"unknown field"});
  refuse("model_name", "dc-ae-f7", {"dc-ae-f7", "f32c32-in-1.0"});
  for (const std::string text : {"", "{", "[1]", "{\"a\": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}"}) {
    std::ofstream(model + "/config.json") << text;
    expect_refusal("roundtrip", model, {"--in", picture, "--weights", "random:1"}, {"config.json"});
  }
  std::filesystem::remove(model + "/config.json");
  expect_refusal("roundtrip", model, {"--in", picture}, {"no config.json in this folder"});
  expect_refusal("roundtrip", folder.file("absent"), {"--in", picture}, {"absent"});
}

TEST_F(Vae, WrongInputsAndOutputs) {
  const std::string picture = photo("photo.png", 16, 8), model = kGolden + "in";
  const std::string z = folder.file("z.safetensors");
  expect_refusal("encode", model, {"--in", folder.file("none.png"), "--out", z}, {"none.png"});
  expect_refusal("encode", model, {"--in", picture, "--out", folder.file("z.png")}, {".safetensors"});
  expect_refusal("encode", model, {"--in", picture, "--out", folder.file("no/z.safetensors")}, {"no/z.safetensors"});
  expect_refusal("encode", model, {"--in", picture}, {"--out"});
  expect_refusal("decode", model, {"--in", picture, "--out", folder.file("y.png")}, {".safetensors"});
  expect_refusal("roundtrip", model, {"--in", picture, "--out", folder.file("y.gif")}, {"y.gif"});
  expect_refusal("roundtrip", model, {"--in", picture, "--dtype", "int8"}, {"int8"});
  expect_refusal("roundtrip", model, {"--in", picture, "--tf32"}, {"CUDA"});
  expect_refusal("roundtrip", model, {"--in", picture, "--tile-size", "32"}, {"--tile"});
  expect_refusal("roundtrip", model, {"--in", picture, "--weights", folder.file("no.safetensors")}, {"no.safetensors"});
  folder.write("bad.png", std::string("no picture"));
  expect_refusal("roundtrip", model, {"--in", folder.file("bad.png")}, {"bad.png"});
  save(folder.file("t.safetensors"), {{"latent", {{1, 7, 2, 2}, DType::f32, std::vector<float>(28)}}});
  expect_refusal("decode", model, {"--in", folder.file("t.safetensors"), "--out", folder.file("y.png")},
                 {"latent", "[N,8,H,W]", "[1,7,2,2]"});
  expect_refusal("encode", model, {"--in", folder.file("t.safetensors"), "--out", z}, {"no tensor 'image'"});
  save(folder.file("t.safetensors"), {{"latent", {{2, 8, 1, 1}, DType::f32, std::vector<float>(16)}}});
  expect_refusal("decode", model, {"--in", folder.file("t.safetensors"), "--out", folder.file("y.png")}, {"one image", "got 2"});
}

}  // namespace
}  // namespace frieze::test

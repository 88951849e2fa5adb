// Autoencoder: what it recognises, batches, tiles, views, bills and refusals. Parity with diffusers is that of dc_ae_golden_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include <frieze/core/error.h>
#include <frieze/graph/finite.h>
#include <frieze/models/autoencoder.h>

#include "support/paths.h"
#include "support/reference.h"
#include "support/temp_folder.h"

namespace frieze::test {
namespace {

namespace fs = std::filesystem;

const std::string kSanaFolder = source_path("tests/golden/dc_ae/sana");  // ratio 8, 4 channels of latents
const std::string kInFolder = source_path("tests/golden/dc_ae/in");

AutoencoderOptions untuned(DType dtype = DType::f32) {
  AutoencoderOptions options;
  options.dtype = dtype;
  options.compile.tune = false;
  return options;
}

Autoencoder open_sana(AutoencoderOptions options = untuned()) {
  return Autoencoder::open(kSanaFolder, Device::reference(), std::move(options));
}

HostTensor random_images(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (float& v : values) v = value(random);
  return HostTensor({shape, DType::f32}, values);
}

// Images of `from` in this order.
HostTensor picked(const HostTensor& from, const std::vector<int>& order) {
  const Shape& s = from.spec().shape;
  const std::vector<float> values = from.floats();
  const auto image = static_cast<std::ptrdiff_t>(s.c() * s.h() * s.w());
  std::vector<float> out;
  for (const int i : order) out.insert(out.end(), values.begin() + i * image, values.begin() + (i + 1) * image);
  return HostTensor({Shape{static_cast<std::int64_t>(order.size()), s.c(), s.h(), s.w()}, DType::f32}, out);
}

bool equal_bits(const HostTensor& a, const HostTensor& b) {
  return a.spec() == b.spec() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

template <class E, class F>
void expect_throw(F action, const std::vector<std::string>& says) {
  try {
    action();
    ADD_FAILURE() << "expected an error that says " << says.front();
  } catch (const E& e) {
    for (const std::string& part : says) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << part << " in: " << e.what();
  }
}

TEST(Autoencoder, RecognisesWhatAPathMeans) {
  TempFolder folder;
  fs::create_directories(folder.file("pipeline"));
  fs::copy(kInFolder, folder.file("pipeline/vae"), fs::copy_options::recursive);
  const HostTensor image = random_images({1, 3, 16, 8}, 1);
  const HostTensor expected = Autoencoder::open(kInFolder, Device::reference(), untuned()).encode(image);
  for (const std::string& path : {folder.file("pipeline"), folder.file("pipeline/vae"), folder.file("pipeline/vae/config.json"),
                                  folder.file("pipeline/vae/diffusion_pytorch_model.safetensors")}) {
    Autoencoder model = Autoencoder::open(path, Device::reference(), untuned());
    EXPECT_EQ(model.info().kind, "AutoencoderDC");
    EXPECT_EQ(model.info().latent_channels, 8);
    EXPECT_TRUE(fs::equivalent(model.info().config, folder.file("pipeline/vae/config.json"))) << path;
    EXPECT_TRUE(equal_bits(model.encode(image), expected)) << path;
  }
  AutoencoderOptions original = untuned();
  original.weights = kInFolder + "/original.safetensors";
  EXPECT_TRUE(equal_bits(Autoencoder::open(kInFolder, Device::reference(), original).encode(image), expected));
  AutoencoderOptions random = untuned();
  random.random_seed = 3;
  const Autoencoder variant = Autoencoder::open(fs::path(kInFolder) / "config.json", Device::reference(), random);
  EXPECT_NE(variant.info().weights.find("random, seed 3"), std::string::npos);
}

TEST(Autoencoder, EqualsDiffusersAndKnowsItsShapes) {
  const Weights golden = Weights::open(kSanaFolder + "/golden.safetensors");
  Autoencoder model = open_sana();
  EXPECT_LE(share_of_range(model.encode(golden.tensor("image")), golden.tensor("latent")), 2e-6);
  EXPECT_LE(share_of_range(model.decode(golden.tensor("latent")), golden.tensor("decoded")), 2e-6);
  EXPECT_EQ(model.captures(), 2U);
  EXPECT_EQ(model.latent_shape({2, 3, 32, 24}), (Shape{2, 4, 4, 3}));
  EXPECT_EQ(model.image_shape({2, 4, 4, 3}), (Shape{2, 3, 32, 24}));
  expect_throw<ShapeError>([&] { (void)model.latent_shape({1, 3, 30, 24}); }, {"multiples of 8", "[1,3,30,24]"});
  expect_throw<ShapeError>([&] { (void)model.latent_shape({3, 32, 24}); }, {"[N,3,H,W]", "[3,32,24]"});
  expect_throw<ShapeError>([&] { (void)model.latent_shape({0, 3, 32, 24}); }, {"[0,3,32,24]"});
  expect_throw<ShapeError>([&] { (void)model.image_shape({1, 5, 4, 3}); }, {"[N,4,h,w]"});
  expect_throw<ShapeError>([&] { (void)model.image_shape({1, 4, std::int64_t{1} << 60, 1}); }, {"height"});
}

TEST(Autoencoder, RoundtripIsBothHalves) {
  Autoencoder model = open_sana();
  const HostTensor image = random_images({2, 3, 16, 24}, 2);
  EXPECT_LE(share_of_range(model.roundtrip(image), model.decode(model.encode(image))), 2e-6);
}

// An image has one answer, wherever it stands in a batch, beside whatever neighbours, and in a last group that is not full.
TEST(Autoencoder, TheSameBitsAtEveryPositionOfABatch) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    AutoencoderOptions options = untuned(dtype);
    options.batch = 3;
    Autoencoder model = open_sana(options);
    const HostTensor images = random_images({5, 3, 16, 8}, 3);
    const HostTensor all = model.encode(images);  // 3 and 2
    EXPECT_EQ(all.spec().shape, (Shape{5, 4, 2, 1}));
    EXPECT_EQ(model.captures(), 1U);
    for (const std::vector<int>& order : {std::vector<int>{4, 3, 2, 1, 0}, {0}, {2, 4}, {1, 1, 1}, {3, 0, 4, 2}}) {
      EXPECT_TRUE(equal_bits(model.encode(picked(images, order)), picked(all, order))) << dtype << ' ' << order.size();
    }
    EXPECT_EQ(model.captures(), 1U) << "one graph for all of them";
    const HostTensor decoded = model.decode(all), both = model.roundtrip(images);
    for (const std::vector<int>& order : {std::vector<int>{4}, {3, 1}, {4, 0, 1, 2}}) {
      EXPECT_TRUE(equal_bits(model.decode(picked(all, order)), picked(decoded, order))) << dtype;
      EXPECT_TRUE(equal_bits(model.roundtrip(picked(images, order)), picked(both, order))) << dtype;
    }
    // A neighbour of other size or strength: one bright, one black.
    std::vector<float> loud = images.floats();
    for (std::size_t i = loud.size() / 5; i < loud.size(); ++i) loud[i] = i < 2 * loud.size() / 5 ? 0 : 1e4F;
    EXPECT_TRUE(equal_bits(picked(model.encode(HostTensor({images.spec().shape}, loud)), {0}), picked(all, {0}))) << dtype;
  }
}

TEST(Autoencoder, TilesEqualDiffusersAndCanBeTurnedOff) {
  const Weights golden = Weights::open(kSanaFolder + "/golden.safetensors");
  Autoencoder model = open_sana();
  const HostTensor latent = golden.tensor("tiled_latent");
  const Shape& s = latent.spec().shape;
  EXPECT_FALSE(model.tiles(s.h() * 8, s.w() * 8));
  const HostTensor whole = model.decode(latent);
  model.enable_tiling(32, 24);
  EXPECT_TRUE(model.tiles(s.h() * 8, s.w() * 8));
  int last = 0, total = 0;
  const HostTensor tiled = model.decode(latent, [&](int done, int tiles) { last = done, total = tiles; });
  EXPECT_LE(share_of_range(tiled, golden.tensor("tiled_decoded")), 2e-6);
  EXPECT_GT(total, 1);
  EXPECT_EQ(last, total);
  model.disable_tiling();
  EXPECT_TRUE(equal_bits(model.decode(latent), whole));
  for (const auto& [size, stride] : {std::pair{30, 0}, {32, 40}, {32, 20}, {4, 4}}) {
    const int tile = size, step = stride;
    expect_throw<OptionError>([&] { model.enable_tiling(tile, step); }, {"multiples of 8"});
  }
  model.enable_tiling();  // 512 and 448
  EXPECT_FALSE(model.tiles(512, 512));
  EXPECT_TRUE(model.tiles(512, 520));
}

TEST(Autoencoder, ViewsAreUsedWhereTheyLie) {
  Autoencoder model = open_sana();
  const HostTensor image = random_images({2, 3, 16, 8}, 4), other = random_images({2, 3, 16, 8}, 5);
  const HostTensor expected = model.encode(image), expected_other = model.encode(other);
  HostTensor latent({model.latent_shape(image.spec().shape), DType::f32}), again({image.spec().shape, DType::f32});
  model.encode(image.view(), latent.view(), nullptr);
  EXPECT_TRUE(equal_bits(latent, expected));
  model.encode(other.view(), latent.view(), nullptr);
  EXPECT_TRUE(equal_bits(latent, expected_other));
  model.decode(latent.view(), again.view(), nullptr);
  EXPECT_TRUE(equal_bits(again, model.decode(latent)));
  // A call on host tensors writes nothing into memory that was bound before.
  std::memset(latent.data(), 0x7F, latent.bytes());
  EXPECT_TRUE(equal_bits(model.encode(image), expected));
  EXPECT_EQ(static_cast<const unsigned char*>(latent.data())[0], 0x7F);

  const HostTensor half = image.converted(DType::f16, Format::nchw), last = image.converted(DType::f32, Format::nhwc);
  HostTensor small({Shape{1, 4, 2, 1}, DType::f32});
  expect_throw<ShapeError>([&] { model.encode(image.view(), small.view(), nullptr); }, {"latent", "[2,4,2,1]", "[1,4,2,1]"});
  expect_throw<DTypeError>([&] { model.encode(half.view(), latent.view(), nullptr); }, {"image", "f32", "f16"});
  expect_throw<OptionError>([&] { model.encode(last.view(), latent.view(), nullptr); }, {"image", "contiguous"});
  TensorView shifted = latent.view();
  shifted.data = static_cast<float*>(shifted.data) + 1;
  expect_throw<OptionError>([&] { model.encode(image.view(), shifted, nullptr); }, {"16"});
  EXPECT_TRUE(equal_bits(model.encode(image), expected)) << "after refusals as before";
}

TEST(Autoencoder, TheBillIsKnownBefore) {
  Autoencoder model = open_sana();
  for (const AutoencoderPart part : {AutoencoderPart::encoder, AutoencoderPart::decoder, AutoencoderPart::both}) {
    const Shape input = part == AutoencoderPart::decoder ? Shape{2, 4, 4, 3} : Shape{2, 3, 32, 24};
    const MemoryBill planned = model.planned_memory(part, input);
    EXPECT_GT(planned.weights, 0);
    EXPECT_GT(planned.arena, 0);
    const std::size_t before = model.captures();
    const Session net = model.session(part, input);
    EXPECT_EQ(model.captures(), before + 1);
    EXPECT_EQ(net.receipt().memory.ports, planned.ports);
    EXPECT_EQ(net.receipt().memory.arena, planned.arena);
    EXPECT_LT(model.planned_memory(part, part == AutoencoderPart::decoder ? Shape{1, 4, 4, 3} : Shape{1, 3, 32, 24}).arena, planned.arena);
  }
  AutoencoderOptions small = untuned();
  small.compile.max_memory = 1000;
  expect_throw<MemoryError>([&] { (void)open_sana(small).encode(random_images({1, 3, 16, 8}, 1)); }, {"allowed", "weights"});
}

TEST(Autoencoder, OnlyTheHalfThatWasOpenedIsThere) {
  AutoencoderOptions options = untuned();
  options.parts = AutoencoderPart::encoder;
  Autoencoder encoder = open_sana(options);
  options.parts = AutoencoderPart::decoder;
  Autoencoder decoder = open_sana(options);
  const HostTensor image = random_images({1, 3, 16, 8}, 6), latent = encoder.encode(image);
  EXPECT_EQ(decoder.decode(latent).spec().shape, image.spec().shape);
  expect_throw<OptionError>([&] { (void)encoder.decode(latent); }, {"without its decoder"});
  expect_throw<OptionError>([&] { (void)decoder.encode(image); }, {"without its encoder"});
  expect_throw<OptionError>([&] { (void)encoder.roundtrip(image); }, {"without its decoder"});
}

TEST(Autoencoder, Refusals) {
  const auto open = [](const std::string& path, AutoencoderOptions o = untuned()) {
    return [=] { (void)Autoencoder::open(path, Device::reference(), o); };
  };
  expect_throw<IoError>(open("no/such/folder"), {"no/such/folder"});
  expect_throw<OptionError>(open("no-such-variant"), {"no-such-variant", "f32c32-sana-1.0"});
  expect_throw<OptionError>(open("f32c32-sana-1.0"), {"published variant", "weights"});
  AutoencoderOptions o = untuned();
  o.batch = -1;
  expect_throw<OptionError>(open(kSanaFolder, o), {"batch", "-1"});
  expect_throw<OptionError>(open(kSanaFolder, untuned(DType::i32)), {"dtype", "i32"});
  o = untuned();
  o.shapes = 0;
  expect_throw<OptionError>(open(kSanaFolder, o), {"shapes"});
  o = untuned();
  o.compile.allow_tf32 = true;
  expect_throw<OptionError>(open(kSanaFolder, o), {"CUDA"});
  o = untuned();
  o.weights = "absent.safetensors";
  expect_throw<IoError>(open(kSanaFolder, o), {"absent.safetensors"});
  o.random_seed = 1;
  expect_throw<OptionError>(open(kSanaFolder, o), {"exclude"});
  o = untuned();
  o.tiling = true, o.tile_size = 12;
  expect_throw<OptionError>(open(kSanaFolder, o), {"multiples of 8"});

  Autoencoder model = open_sana();
  expect_throw<ShapeError>([&] { (void)model.encode(HostTensor({Shape{3, 16, 8}, DType::f32})); }, {"rank 4"});
  expect_throw<ShapeError>([&] { (void)model.encode(HostTensor({Shape{0, 3, 16, 8}, DType::f32})); }, {"[0,3,16,8]"});
  expect_throw<ShapeError>([&] { (void)model.encode(random_images({1, 4, 16, 8}, 1)); }, {"[N,3,H,W]"});
  expect_throw<ShapeError>([&] { (void)model.encode(random_images({1, 3, 16, 9}, 1)); }, {"multiples of 8"});
  Autoencoder moved = std::move(model);
  expect_throw<OptionError>([&] { (void)model.info(); }, {"moved from"});  // NOLINT: that is what is tested
  EXPECT_EQ(moved.info().ratio, 8);
}

TEST(Autoencoder, NonFiniteValuesAreToldApart) {
  std::vector<std::string> notes;
  AutoencoderOptions options = untuned();
  options.on_note = [&](std::string_view note) { notes.emplace_back(note); };
  Autoencoder model = open_sana(options);
  std::vector<float> values = random_images({1, 3, 16, 8}, 7).floats();
  values[5] = std::numeric_limits<float>::quiet_NaN();
  (void)model.encode(HostTensor({Shape{1, 3, 16, 8}, DType::f32}, values));
  ASSERT_EQ(notes.size(), 1U);
  values[5] = 3e38F;  // finite, and too large for what the model does with it
  expect_throw<NonFiniteError>([&] { (void)model.encode(HostTensor({Shape{1, 3, 16, 8}, DType::f32}, values)); }, {"encoder"});
  options.check_finite = false;
  Autoencoder careless = open_sana(options);
  const std::vector<float> out = careless.encode(HostTensor({Shape{1, 3, 16, 8}, DType::f32}, values)).floats();
  EXPECT_TRUE(std::any_of(out.begin(), out.end(), [](float v) { return !std::isfinite(v); }));
}

}  // namespace
}  // namespace frieze::test

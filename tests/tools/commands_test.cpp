// What each subcommand is for, on the CPU; with a GPU, also there.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include <frieze/core/version.h>
#include <frieze/graph/session.h>

#include "tools/command.h"
#include "tools/image/image.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

const std::string kPhoto = source_path("tests/data/chelsea.png");

std::string expect_success(const std::vector<std::string>& arguments) {
  const Outcome outcome = run_frieze(arguments);
  EXPECT_EQ(outcome.status, 0) << outcome.err << outcome.out;
  EXPECT_EQ(outcome.err, "");
  return outcome.out;
}

nlohmann::json expect_json(const std::vector<std::string>& arguments) {
  const std::string text = expect_success(arguments);
  EXPECT_TRUE(nlohmann::json::accept(text)) << text;
  return nlohmann::json::parse(text, nullptr, false);
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A crop of the photograph keeps the CPU reference quick.
std::string small_photo(const TempFolder& folder) {
  const tools::Image photo = tools::read_image(kPhoto);
  tools::Image crop{31, 17, 3, {}};
  for (int row = 0; row < crop.height; ++row) {
    const auto from = photo.pixels.begin() + ((90 + row) * photo.width + 140) * 3;
    crop.pixels.insert(crop.pixels.end(), from, from + crop.width * 3);
  }
  tools::write_image(folder.file("photo.png"), crop);
  return folder.file("photo.png");
}

double mean_step(const tools::Image& image) {  // mean difference between neighbours in a row: how sharp it is
  double sum = 0;
  for (std::size_t i = 3; i < image.pixels.size(); ++i) sum += std::abs(image.pixels[i] - image.pixels[i - 3]);
  return sum / static_cast<double>(image.pixels.size());
}

TEST(NoTune, IsTakenByTheCommandsThatCompileAModel) {
  for (const char* command : {"inspect", "verify", "bench"}) {
    expect_success({command, "quickstart", "--device", "auto", "--size", "16x16", "--no-tune"});
  }
}

TEST(Run, SharpensAPicture) {
  TempFolder folder;
  const std::string photo = small_photo(folder);
  for (const std::string dtype : {"f32", "f16", "bf16"}) {
    const std::string text =
        expect_success({"run", "quickstart", "--device", "cpu", "--in", photo, "--out", folder.file("out.png"), "--dtype", dtype});
    EXPECT_TRUE(holds(text, "quickstart on cpu, " + dtype)) << text;
    const tools::Image before = tools::read_image(photo), after = tools::read_image(folder.file("out.png"));
    ASSERT_EQ(after.width, before.width);
    ASSERT_EQ(after.height, before.height);
    EXPECT_GT(mean_step(after), 1.2 * mean_step(before)) << dtype;
    double difference = 0;
    for (std::size_t i = 0; i < after.pixels.size(); ++i) difference += std::abs(after.pixels[i] - before.pixels[i]);
    EXPECT_LT(difference / static_cast<double>(after.pixels.size()), 0.1) << "the picture must stay recognisable";
  }
  EXPECT_EQ(folder.count(), 2);
}

TEST(Run, KeepsAlphaAndTakesGrey) {
  TempFolder folder;
  tools::Image image{9, 5, 4, std::vector<float>(9 * 5 * 4, 0.4f)};
  image.pixels[3] = 1.0f;
  for (const int channels : {1, 2, 3, 4}) {
    image.channels = channels;
    image.pixels.resize(static_cast<std::size_t>(9 * 5 * channels));
    tools::write_image(folder.file("in.png"), {9, 5, channels, image.pixels});
    expect_success({"run", "quickstart", "--device", "cpu", "--in", folder.file("in.png"), "--out", folder.file("out.png")});
    const tools::Image out = tools::read_image(folder.file("out.png"));
    EXPECT_EQ(out.channels, channels % 2 == 0 ? 4 : 3);
    image.pixels.assign(9 * 5 * 4, 0.4f);
  }
}

TEST(Run, WeightsFromAFileAndRandomOnes) {
  TempFolder folder;
  const std::string photo = small_photo(folder);
  const auto run_to = [&](const std::string& out, const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run", "quickstart", "--device", "cpu", "--in", photo, "--out", folder.file(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_success(arguments);
    return slurp(folder.file(out));
  };
  const std::string one = run_to("1.png", {"--random-weights", "1"});
  EXPECT_EQ(run_to("1b.png", {"--random-weights", "1"}), one);
  EXPECT_NE(run_to("2.png", {"--random-weights", "2"}), one);
}

TEST(Run, ReportsJson) {
  TempFolder folder;
  const auto report =
      expect_json({"run", "quickstart", "--device", "cpu", "--in", small_photo(folder), "--out", folder.file("o.png"), "--json"});
  EXPECT_EQ(report.at("device"), "cpu");
  EXPECT_GT(report.at("run_ms"), 0.0);
  EXPECT_FALSE(report.at("receipt").at("captured"));
}

TEST(Verify, PassesOnTheCpuForEveryType) {
  for (const std::string dtype : {"f32", "f16", "bf16"}) {
    const auto report =
        expect_json({"verify", "quickstart", "--device", "cpu", "--size", "21x13", "--dtype", dtype, "--random-weights", "3", "--json"});
    EXPECT_FALSE(report.at("report").at("layers").empty());
  }
  EXPECT_TRUE(holds(expect_success({"verify", "quickstart", "--device", "cpu", "--size", "21x13"}), "stem"));
}

TEST(Inspect, ShowsPlanMemoryAndReceipt) {
  const std::string text = expect_success({"inspect", "quickstart", "--device", "cpu", "--size", "40x24"});
  for (const char* part : {"stem", "blocks.1.norm", "Conv2d 3->16 5x5", "[1,16,24,40]", "MFLOP", "arena", "memory"})
    EXPECT_TRUE(holds(text, part)) << part;
  const auto json = expect_json({"inspect", "quickstart", "--device", "cpu", "--size", "40x24", "--json"});
  EXPECT_TRUE(json.contains("plan") && json.contains("memory") && json.contains("receipt"));
  const std::string dot = expect_success({"inspect", "quickstart", "--device", "cpu", "--size", "40x24", "--dot"});
  EXPECT_EQ(dot.rfind("digraph", 0), 0u);
}

TEST(Inspect, ShowsTheMemoryAloneAndRefusesWhatIsTooMuch) {
  const std::string text = expect_success({"inspect", "quickstart", "--device", "cpu", "--size", "40x24", "--memory"});
  for (const char* part : {"weights", "arena of", "tenths of the arena", "blocks.1.norm"}) EXPECT_TRUE(holds(text, part)) << part;
  EXPECT_FALSE(holds(text, "MFLOP"));
  const auto json = expect_json({"inspect", "quickstart", "--device", "cpu", "--size", "40x24", "--memory", "--json"});
  EXPECT_GT(json.at("bill").at("total"), 0);
  expect_success({"inspect", "quickstart", "--device", "cpu", "--size", "40x24", "--max-memory", "10M"});
  const Outcome refused = run_frieze({"run", "quickstart", "--device", "cpu", "--in", kPhoto, "--out", "never.png", "--max-memory", "1M"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(holds(refused.err, "more than the 1.00 MiB allowed: memory")) << refused.err;
  EXPECT_EQ(run_frieze({"inspect", "quickstart", "--max-memory", "lots"}).status, 2);
}

TEST(Inspect, DrawsTheCapturedGraphWhereThereIsOne) {
  const Outcome cpu = run_frieze({"inspect", "quickstart", "--device", "cpu", "--size", "16x16", "--graph-dot"});
  EXPECT_EQ(cpu.status, 2);
  EXPECT_TRUE(holds(cpu.err, "nothing is captured")) << cpu.err;
  if (Device::cuda_count() == 0) GTEST_SKIP() << "needs a CUDA device";
  const std::string dot = expect_success({"inspect", "quickstart", "--device", "cuda", "--size", "16x16", "--graph-dot"});
  EXPECT_EQ(dot.rfind("digraph captured", 0), 0u);
  const auto receipt = expect_json({"inspect", "quickstart", "--device", "cuda", "--size", "16x16", "--json"}).at("receipt");
  EXPECT_EQ(receipt.at("streams"), 1);
  EXPECT_EQ(receipt.at("edge_list").size(), receipt.at("edges").get<std::size_t>());
  for (const auto& node : receipt.at("nodes")) {
    if (node.at("kind") != "kernel") continue;
    EXPECT_GT(node.at("registers"), 0) << node;
  }
}

TEST(Profile, OfEveryModelAsTableJsonAndPage) {
  TempFolder folder;
  const std::string text = expect_success({"profile", "quickstart", "--device", "cpu", "--size", "16x16", "--rounds", "2"});
  EXPECT_TRUE(holds(text, "wall times on the CPU")) << text;
  for (const char* model : {"quickstart", "denoiser"}) {
    const auto json = expect_json({"profile", model, "--device", "cpu", "--size", "16x16", "--rounds", "1", "--json"});
    EXPECT_GT(json.at("report").at("run_us"), 0.0);
    EXPECT_FALSE(json.at("report").at("steps").empty());
  }
  expect_success(
      {"profile", "quickstart", "--device", "cpu", "--size", "16x16", "--rounds", "1", "--html", folder.file("p.html"), "--verify"});
  const std::string page = slurp(folder.file("p.html"));
  EXPECT_TRUE(holds(page, "within its budget") && page.ends_with("</html>\n"));
  EXPECT_EQ(folder.count(), 1);
  EXPECT_EQ(run_frieze({"profile", "quickstart", "--rounds", "0"}).status, 2);
  EXPECT_EQ(run_frieze({"profile", "quickstart", "--html", folder.file("no/such/folder.html")}).status, 2);
  EXPECT_EQ(run_frieze({"profile", "quickstart", "--verify"}).status, 2) << "the budget is shown on the page only";
}

TEST(Profile, OnTheGpuAddsUp) {
  if (Device::cuda_count() == 0) GTEST_SKIP() << "needs a CUDA device";
  const auto report = expect_json({"profile", "quickstart", "--device", "cuda", "--size", "256x256", "--json"}).at("report");
  EXPECT_EQ(report.at("method"), "stamps");
  EXPECT_LT(std::abs(report.at("excess").get<double>()), 0.05) << report;
  EXPECT_GT(report.at("measured").at("copy_gb_per_s"), 10.0);
}

TEST(Bench, TimesTheCpu) {
  EXPECT_TRUE(holds(expect_success({"bench", "quickstart", "--device", "cpu", "--size", "16x16", "--rounds", "2"}), "median"));
  EXPECT_GT(expect_json({"bench", "quickstart", "--device", "cpu", "--size", "16x16", "--rounds", "2", "--json"}).at("run_ms"), 0.0);
}

TEST(Bench, TimesGraphAndEagerOnTheGpu) {
  if (Device::cuda_count() == 0) GTEST_SKIP() << "needs a CUDA device";
  const auto json = expect_json({"bench", "quickstart", "--device", "cuda", "--size", "64x64", "--json"});
  EXPECT_GT(json.at("graph").at("device_us"), 0.0);
  EXPECT_LT(json.at("graph").at("host_us"), json.at("eager").at("host_us"));
}

TEST(Gpu, RunAndVerify) {
  if (Device::cuda_count() == 0) GTEST_SKIP() << "needs a CUDA device";
  TempFolder folder;
  for (const std::string dtype : {"f32", "f16", "bf16"}) {
    expect_success({"verify", "quickstart", "--device", "cuda", "--in", small_photo(folder), "--dtype", dtype});
    const std::string text =
        expect_success({"run", "quickstart", "--device", "cuda", "--in", kPhoto, "--out", folder.file("o.png"), "--dtype", dtype});
    EXPECT_TRUE(holds(text, "1 launch of")) << text;
  }
}

class Op : public ::testing::Test {
 protected:
  HostTensor run(const std::string& layer, const RawTensors& tensors, const std::vector<std::string>& more = {}) {
    save(folder.file("in.safetensors"), tensors);
    std::vector<std::string> arguments = {
        "op", layer, "--device", "cpu", "--in", folder.file("in.safetensors"), "--out", folder.file("out.safetensors")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_success(arguments);
    const Weights result = Weights::open(folder.file("out.safetensors"));
    EXPECT_EQ(result.tensors().size(), 1u);
    return result.tensor("y");
  }
  TempFolder folder;
};

TEST_F(Op, RmsNormIsItsFormula) {
  const RawTensor x{{1, 2, 1, 2}, DType::f32, {3, 1, 4, 1}};
  const RawTensor weight{{2, 1, 1}, DType::f32, {1, 2}};
  for (const std::string format : {"nchw", "nhwc"}) {
    const std::vector<float> y = run("rms_norm2d", {{"x", x}, {"gamma", weight}}, {"--set", "eps=0", "--format", format}).floats();
    const float r = std::sqrt(12.5f);
    EXPECT_NEAR(y[0], 3 / r, 1e-6);
    EXPECT_NEAR(y[1], 1, 1e-6);
    EXPECT_NEAR(y[2], 8 / r, 1e-6);
    EXPECT_NEAR(y[3], 2, 1e-6);
  }
}

TEST_F(Op, KeepsTheTypeOfTheFile) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const HostTensor y = run("relu", {{"x", RawTensor{{3}, dtype, {-1, 0, 2.5f}}}});
    EXPECT_EQ(y.spec().dtype, dtype);
    EXPECT_EQ(y.floats(), (std::vector<float>{0, 0, 2.5f}));
  }
}

TEST_F(Op, ConvolutionSettingsAndEpilogue) {
  const RawTensor x{{1, 1, 3, 3}, DType::f32, {1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const RawTensor weight{{1, 1, 2, 2}, DType::f32, {1, 0, 0, -1}};
  EXPECT_EQ(run("conv2d", {{"x", x}, {"weight", weight}}).floats(), (std::vector<float>{-4, -4, -4, -4}));
  EXPECT_EQ(run("conv2d", {{"x", x}, {"weight", weight}}, {"--set", "dilation=2"}).floats(), (std::vector<float>{-8}));
  EXPECT_EQ(run("conv2d", {{"x", x}, {"weight", weight}}, {"--set", "stride=1x2"}).spec().shape, (Shape{1, 1, 2, 1}));
  const RawTensor residual{{1, 1, 2, 2}, DType::f32, {1, 2, 3, 4}};
  EXPECT_EQ(run("conv2d", {{"x", x}, {"weight", weight}, {"residual", residual}}, {"--then", "relu", "--then", "add"}).floats(),
            (std::vector<float>{1, 2, 3, 4}));
}

TEST_F(Op, LayersOfSeveralInputsAndOfNumbers) {
  const RawTensor a{{1, 1, 1, 2}, DType::f32, {1, 2}}, b{{1, 2, 1, 2}, DType::f32, {3, 4, 5, 6}};
  EXPECT_EQ(run("concat", {{"x", a}, {"x2", b}, {"x3", a}}).floats(), (std::vector<float>{1, 2, 3, 4, 5, 6, 1, 2}));
  EXPECT_EQ(run("mul", {{"x", a}, {"x2", b}}).floats(), (std::vector<float>{3, 8, 5, 12}));
  EXPECT_EQ(run("slice", {{"x", b}}, {"--set", "begin=1", "--set", "end=2"}).floats(), (std::vector<float>{5, 6}));
  EXPECT_EQ(run("upsample", {{"x", a}}, {"--set", "factor=2"}).floats(), (std::vector<float>{1, 1, 2, 2, 1, 1, 2, 2}));
  EXPECT_EQ(run("scale", {{"x", a}}, {"--set", "factor=-0.5"}).floats(), (std::vector<float>{-0.5f, -1}));
  const RawTensor weight{{1, 2}, DType::f32, {10, 1}}, bias{{1}, DType::f32, {0.5f}};
  EXPECT_EQ(run("linear", {{"x", {{1, 2}, DType::f32, {1, 2}}}, {"weight", weight}, {"bias", bias}}).floats(), (std::vector<float>{12.5f}));
}

TEST_F(Op, ResidualOfTheNormItself) {
  const RawTensor x{{1, 2, 1, 1}, DType::f32, {3, 1}}, residual{{1, 2, 1, 1}, DType::f32, {-2, 6}};
  const std::vector<float> before =
      run("rms_norm2d", {{"x", x}, {"residual", residual}}, {"--set", "residual=before", "--set", "eps=0"}).floats();
  EXPECT_NEAR(before[0], 1 / 5.0, 1e-6);
  EXPECT_NEAR(before[1], 7 / 5.0, 1e-6);
}

TEST_F(Op, ListNamesEveryLayer) {
  const std::string text = expect_success({"op", "--list"});
  for (const char* part : {"rms_norm2d", "conv2d", "linear", "silu", "--set eps_mode=add_inside|"}) EXPECT_TRUE(holds(text, part)) << part;
}

TEST(Devices, ListsTheCpu) {
  const std::string text = expect_success({"devices"});
  EXPECT_TRUE(holds(text, "cpu"));
  EXPECT_EQ(holds(text, "cuda    none: "), Device::cuda_count() == 0) << text;
  EXPECT_EQ(holds(text, "CPU-only build"), cuda_toolkit_version().empty()) << text;
  EXPECT_EQ(expect_json({"devices", "--json"}).at("cuda").size(), static_cast<std::size_t>(Device::cuda_count()));
}

TEST(Version, SaysWhatItWasBuiltWith) {
  const std::string text = expect_success({"--version"});
  EXPECT_EQ(text.rfind("frieze " + std::string(version()) + " (commit " + std::string(commit()) + ")\n", 0), 0u) << text;
  const bool cpu_only = cuda_toolkit_version().empty();
  EXPECT_EQ(holds(text, "CPU-only"), cpu_only) << text;
  for (const char* part : {"CUDA toolkit: ", "cuBLASLt: ", "cuDNN: "}) EXPECT_EQ(holds(text, part), !cpu_only) << text;
  for (const char* part : {"own kernels", "cuBLAS", "cuDNN", "toolkit"}) EXPECT_FALSE(cpu_only && holds(text, part)) << text;
}

TEST(Help, OfEveryCommandHasWords) {
  for (const char* command : {"run", "verify", "inspect", "bench", "profile", "bench-op", "op", "devices"}) {
    EXPECT_TRUE(holds(expect_success({"--help"}), command));
    EXPECT_GT(expect_success({command, "--help"}).size(), 100u);
  }
}

}  // namespace
}  // namespace frieze::test

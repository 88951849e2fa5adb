// Every kind of bad input: exit 2, exactly one line that says what, and nothing written.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tools/command.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

const std::string kPhoto = source_path("tests/data/chelsea.png");

void expect_refusal(const std::vector<std::string>& arguments, const std::string& says) {
  const Outcome outcome = run_frieze(arguments);
  EXPECT_EQ(outcome.status, 2) << says;
  EXPECT_EQ(outcome.out, "") << says;
  EXPECT_EQ(outcome.err.rfind("frieze: error: ", 0), 0u) << outcome.err;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_FALSE(outcome.err.empty() || outcome.err.back() != '\n') << outcome.err;
  EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
}

RawTensor tensor(const Shape& shape, DType dtype = DType::f32) {
  return {shape, dtype, std::vector<float>(static_cast<std::size_t>(shape.elements()), 0.5f)};
}

// A safetensors file with this header and `data` zero bytes.
std::string raw_safetensors(const std::string& header, std::size_t data) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + std::string(data, '\0');
}

class Errors : public ::testing::Test {
 protected:
  // `frieze op` on these tensors; neither the result nor a temporary file may be left.
  void expect_op_refusal(const std::string& layer, const RawTensors& tensors, const std::string& says,
                         const std::vector<std::string>& more = {}) {
    save(folder.file("in.safetensors"), tensors);
    expect_op_refusal_of_file(layer, says, more);
  }
  void expect_op_refusal_of_file(const std::string& layer, const std::string& says, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"op", layer, "--in", folder.file("in.safetensors"), "--out", folder.file("out.safetensors")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_refusal(arguments, says);
    EXPECT_EQ(folder.count(), 1) << says;
  }
  void expect_run_refusal(const std::string& photo, const std::string& says, const std::vector<std::string>& more = {}) {
    const auto before = folder.count();
    std::vector<std::string> arguments = {"run", "quickstart", "--device", "cpu", "--in", photo, "--out", folder.file("out.png")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_refusal(arguments, says);
    EXPECT_EQ(folder.count(), before) << says;
  }
  TempFolder folder;
};

TEST_F(Errors, WrongRank) {
  expect_op_refusal("rms_norm2d", {{"x", tensor({3, 8, 8})}}, "rank 4");
  expect_op_refusal("conv2d", {{"x", tensor({3, 8, 8})}, {"weight", tensor({4, 3, 3, 3})}}, "[3,8,8]");
  expect_op_refusal("conv2d", {{"x", tensor({1, 3, 8, 8})}, {"weight", tensor({4, 3})}}, "rank 4");
}

TEST_F(Errors, WrongChannels) {
  expect_op_refusal("conv2d", {{"x", tensor({1, 4, 8, 8})}, {"weight", tensor({2, 3, 3, 3})}}, "expects 3 input channels");
  expect_op_refusal("rms_norm2d", {{"x", tensor({1, 4, 2, 2})}, {"weight", tensor({5})}}, "expected [4], got [5]");
}

TEST_F(Errors, ZeroSizedAndNegativeExtents) {
  expect_op_refusal("silu", {{"x", tensor({1, 0, 4, 4})}}, "[1,0,4,4]");
  expect_op_refusal("rms_norm2d", {{"x", tensor({1, 0, 4, 4})}}, "at least 1 channel");
  folder.write("in.safetensors", raw_safetensors(R"({"x":{"dtype":"F32","shape":[1,-4],"data_offsets":[0,16]}})", 16));
  expect_op_refusal_of_file("silu", "shape");
  expect_refusal({"inspect", "quickstart", "--size", "0x16"}, "--size");
  expect_refusal({"inspect", "quickstart", "--size", "16x-3"}, "--size");
}

TEST_F(Errors, ElementCountsThatOverflow) {
  // 2^32 elements claimed by 16 bytes; 2^64 elements; both must be refused before anything is allocated for them.
  folder.write("in.safetensors", raw_safetensors(R"({"x":{"dtype":"F32","shape":[65536,65536],"data_offsets":[0,16]}})", 16));
  expect_op_refusal_of_file("silu", "in.safetensors");
  folder.write("in.safetensors", raw_safetensors(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}})", 16));
  expect_op_refusal_of_file("silu", "in.safetensors");
  expect_refusal({"inspect", "quickstart", "--size", "2147483647x2147483647"}, "element count");
  expect_refusal({"inspect", "quickstart", "--size", "99999999999x8"}, "--size");
  // 2^40 pixels of 16 channels fit in 64 bits, but in no machine.
  expect_refusal({"inspect", "quickstart", "--device", "cpu", "--size", "1048576x1048576"}, "TiB, this machine has ");
}

TEST_F(Errors, WrongDtype) {
  folder.write("in.safetensors", raw_safetensors(R"({"x":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}})", 16));
  expect_op_refusal_of_file("silu", "got i64");
  expect_op_refusal("add", {{"x", tensor({2})}, {"x2", tensor({2}, DType::f16)}}, "f16");
  expect_refusal({"inspect", "quickstart", "--dtype", "f64"}, "f64");
}

// Functional steps tell the line of the program that calls them, which here is none of the user's.
TEST_F(Errors, AnOperationNamesNoLineOfThisProgram) {
  folder.write("in.safetensors", raw_safetensors(R"({"x":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}})", 16));
  const Outcome outcome = run_frieze({"op", "silu", "--in", folder.file("in.safetensors"), "--out", folder.file("o.safetensors")});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("silu: silu takes f32, f16 or bf16, got i64\n"), std::string::npos) << outcome.err;
}

TEST_F(Errors, MissingInput) {
  expect_op_refusal("silu", {{"a", tensor({2})}}, "no tensor 'x'");
  expect_op_refusal("add", {{"x", tensor({2})}}, "2 inputs");
  expect_op_refusal("conv2d", {{"x", tensor({1, 3, 8, 8})}}, "weight");
  expect_op_refusal("silu", {{"x", tensor({2})}}, "residual", {"--then", "add"});
  expect_op_refusal("silu", {{"x", tensor({2})}, {"stray", tensor({2})}}, "'stray' is not used");
}

TEST_F(Errors, UnreadablePictures) {
  expect_run_refusal(folder.file("missing.png"), "cannot be opened: No such file");
  expect_run_refusal(folder.path().string(), "expected a regular file, got a folder");
  const std::string photo = slurp(kPhoto);
  expect_run_refusal(folder.write("a.png", photo.substr(0, photo.size() / 2)), "truncated PNG");
  expect_run_refusal(folder.write("a.png", photo.substr(0, photo.size() - 1)), "damaged PNG: the file ends before its end marker",
                     {"--strict"});
  expect_run_refusal(folder.write("a.png", std::string()), "the file is empty");
  expect_run_refusal(folder.write("a.png", std::string("P6 1 1 255 abc")), "neither a PNG nor a JPEG");
  std::string damaged = photo;
  damaged[photo.size() / 2] = static_cast<char>(damaged[photo.size() / 2] ^ 1);
  expect_run_refusal(folder.write("a.png", damaged), "wrong checksum");
}

TEST_F(Errors, UnreadableWeights) {
  const auto run_with = [&](const std::string& weights, const std::string& says) {
    expect_run_refusal(kPhoto, says, {"--weights", weights});
  };
  run_with(folder.file("missing.safetensors"), "missing.safetensors");
  run_with(folder.write("w.safetensors", std::string("short")), "w.safetensors");
  run_with(folder.write("w.safetensors", raw_safetensors(R"({"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}})", 31)),
           "w.safetensors");
  run_with(folder.write("w.safetensors", raw_safetensors("{not json", 0)), "w.safetensors");
  save(folder.file("w.safetensors"), {{"stem.weight", tensor({16, 3, 5, 5})}});
  run_with(folder.file("w.safetensors"), "stem.bias");
  save(folder.file("w.safetensors"), {{"stem.weight", tensor({16, 3, 3, 3})}});
  run_with(folder.file("w.safetensors"), "[16,3,3,3]");
}

TEST_F(Errors, UnwritableOutput) {
  for (const std::string& out :
       {std::string("/proc/out.png"), std::string("/dev/full"), folder.path().string(), folder.file("no/out.png")}) {
    expect_refusal({"run", "quickstart", "--device", "cpu", "--in", kPhoto, "--out", out}, out + ": cannot be written");
  }
  save(folder.file("in.safetensors"), {{"x", tensor({2})}});
  for (const std::string& out : {std::string("/proc/y.safetensors"), std::string("/dev/full"), folder.path().string()}) {
    expect_refusal({"op", "silu", "--in", folder.file("in.safetensors"), "--out", out}, out + ": cannot be written");
  }
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_EQ(folder.count(), 1);
}

TEST_F(Errors, AReportThatCannotBeWritten) {
  const Outcome outcome = run_frieze({"devices"}, "/dev/full");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, "frieze: error: standard output: cannot write the report: No space left on device\n");
}

TEST_F(Errors, AFailureKeepsTheOldOutput) {
  folder.write("out.png", std::string("precious"));
  const Outcome outcome = run_frieze({"run", "quickstart", "--in", folder.file("missing.png"), "--out", folder.file("out.png")});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(slurp(folder.file("out.png")), "precious");
}

TEST_F(Errors, UnknownNamesListWhatThereIs) {
  expect_refusal({"inspect", "resnet"}, "expected denoiser, quickstart");
  expect_refusal({"inspect", "quickstart", "--device", "tpu"}, "expected cpu, reference, cuda or cuda:N");
  save(folder.file("in.safetensors"), {{"x", tensor({1, 2, 2, 2})}});
  expect_op_refusal_of_file("batch_norm", "rms_norm2d");
  expect_op_refusal_of_file("rms_norm2d", "it has eps, eps_mode", {"--set", "epsilon=1"});
  expect_op_refusal_of_file("rms_norm2d", "expected a number", {"--set", "eps=tiny"});
  expect_op_refusal_of_file("rms_norm2d", "expected one of add_inside", {"--set", "eps_mode=outside"});
  expect_op_refusal_of_file("rms_norm2d", "key=value", {"--set", "eps"});
  expect_op_refusal_of_file("rms_norm2d", "twice", {"--set", "eps=1", "--set", "eps=2"});
  expect_op_refusal_of_file("upsample", "needs --set factor");
  expect_op_refusal_of_file("silu", "expected none, relu", {"--then", "swish"});
  expect_op_refusal_of_file("silu", "expected nchw or nhwc", {"--format", "hwcn"});
}

TEST_F(Errors, WrongCommandLines) {
  expect_refusal({}, "see frieze --help");
  expect_refusal({"fly"}, "unknown command 'fly'");
  expect_refusal({"run", "quickstart"}, "--in");
  expect_refusal({"run", "quickstart", "--in", kPhoto}, "--out");
  expect_refusal({"verify", "quickstart", "--colour"}, "see frieze verify --help");
  expect_refusal({"inspect", "quickstart", "--size", "12"}, "WIDTHxHEIGHT");
  expect_refusal({"inspect", "quickstart", "--json", "--dot"}, "exclude");
  expect_refusal({"bench", "quickstart", "--rounds", "0"}, "--rounds");
  expect_refusal({"op", "silu"}, "--list");
  expect_refusal({"inspect", "quickstart", "--device", "cpu", "--tf32"}, "--tf32 needs a CUDA device");
}

TEST_F(Errors, NoGpuIsOneLine) {
  const Outcome devices = run_frieze({"devices"});
  if (devices.out.find("cuda:0") != std::string::npos) GTEST_SKIP() << "this machine has a GPU";
  expect_refusal({"inspect", "quickstart", "--device", "cuda"}, "CUDA");
}

}  // namespace
}  // namespace frieze::test

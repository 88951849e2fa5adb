// Settings of `frieze op` for arithmetic, reductions, shapes and embeddings, and their refusals.
#include <gtest/gtest.h>

#include "tools/command.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

class ElementwiseOp : public ::testing::Test {
 protected:
  Outcome run_op(const std::string& layer, const RawTensors& tensors, const std::vector<std::string>& settings) {
    save(folder.file("in.safetensors"), tensors);
    std::vector<std::string> arguments = {
        "op", layer, "--device", "cpu", "--in", folder.file("in.safetensors"), "--out", folder.file("out.safetensors")};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    return run_frieze(arguments);
  }
  void expect_result(const std::string& layer, const RawTensors& tensors, const std::vector<std::string>& settings, const Shape& shape,
                     const std::vector<float>& values) {
    const Outcome outcome = run_op(layer, tensors, settings);
    ASSERT_EQ(outcome.status, 0) << layer << ": " << outcome.err;
    const Weights result = Weights::open(folder.file("out.safetensors"));
    EXPECT_EQ(result.tensor("y").spec().shape, shape) << layer;
    EXPECT_EQ(result.tensor("y").floats(), values) << layer;
  }
  void expect_refused(const std::string& layer, const std::vector<std::string>& settings, const std::string& says) {
    const Outcome outcome = run_op(layer, {{"x", x}}, settings);
    EXPECT_EQ(outcome.status, 2) << layer;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
  }
  const RawTensor x{{2, 2}, DType::f32, {1, -2, 3, 4}};
  TempFolder folder;
};

TEST_F(ElementwiseOp, TakesASecondTensorOrANumber) {
  const RawTensor row{{2}, DType::f32, {2, 4}};
  expect_result("sub", {{"x", x}, {"x2", row}}, {}, {2, 2}, {-1, -6, 1, 0});
  expect_result("sub", {{"x", x}}, {"number=1"}, {2, 2}, {0, -3, 2, 3});
  expect_result("div", {{"x", x}}, {"number=2"}, {2, 2}, {0.5F, -1, 1.5F, 2});
  expect_result("maximum", {{"x", x}}, {"number=2"}, {2, 2}, {2, 2, 3, 4});
  expect_result("greater", {{"x", x}, {"x2", row}}, {}, {2, 2}, {0, 0, 1, 0});
  expect_result("add", {{"x", x}}, {"number=0.5"}, {2, 2}, {1.5F, -1.5F, 3.5F, 4.5F});
  expect_result("where", {{"x", x}, {"x2", row}, {"x3", x}}, {}, {2, 2}, {2, 4, 2, 4});
  expect_result("clamp", {{"x", x}}, {"max=2"}, {2, 2}, {1, -2, 2, 2});
  expect_result("pow", {{"x", x}}, {"exponent=2"}, {2, 2}, {1, 4, 9, 16});
  expect_result("leaky_relu", {{"x", x}}, {"slope=0.5"}, {2, 2}, {1, -1, 3, 4});
  expect_refused("div", {}, "div: needs a tensor 'x2' or --set number=NUMBER");
  expect_refused("clamp", {}, "clamp: needs --set min=NUMBER or --set max=NUMBER");
}

TEST_F(ElementwiseOp, AxesAndShapes) {
  expect_result("sum", {{"x", x}}, {"axes=-1"}, {2}, {-1, 7});
  expect_result("amax", {{"x", x}}, {"axes=0,1", "keep_dims=true"}, {1, 1}, {4});
  expect_result("mean", {{"x", x}}, {}, Shape{}, {1.5F});
  expect_result("reglu", {{"x", x}}, {"axis=0"}, {1, 2}, {3, -8});
  expect_result("permute", {{"x", x}}, {"axes=1,0"}, {2, 2}, {1, 3, -2, 4});
  expect_result("reshape", {{"x", x}}, {"shape=1,-1"}, {1, 4}, {1, -2, 3, 4});
  expect_result("slice", {{"x", x}}, {"begin=1", "end=2", "axis=0"}, {1, 2}, {3, 4});
  expect_refused("sum", {"axes=0,x"}, "--set axes");
  expect_refused("sum", {"axes=9"}, "an axis is within -8 and 7, got 9");
  expect_refused("sum", {"axes=0,,1"}, "--set axes");
  expect_refused("amin", {"axes=3"}, "amin expects rank 4 or more for axis 3");
}

TEST_F(ElementwiseOp, ViewsAndSeveralResults) {
  expect_result("transpose", {{"x", x}}, {"a=0", "b=-1"}, {2, 2}, {1, 3, -2, 4});
  expect_result("flatten", {{"x", x}}, {}, {4}, {1, -2, 3, 4});
  expect_result("unsqueeze", {{"x", x}}, {"axis=-1"}, {2, 2, 1}, {1, -2, 3, 4});
  expect_result("squeeze", {{"x", {{1, 2, 1}, DType::f32, {5, 6}}}}, {}, {2}, {5, 6});
  expect_result("squeeze", {{"x", {{1, 2, 1}, DType::f32, {5, 6}}}}, {"axis=-1"}, {1, 2}, {5, 6});
  expect_result("stack", {{"x", x}, {"x2", x}}, {"axis=1"}, {2, 2, 2}, {1, -2, 1, -2, 3, 4, 3, 4});
  expect_result("split", {{"x", {{1, 3}, DType::i64, {1 << 25, 7, 9}}}}, {"lengths=1,2"}, {1, 1}, {1 << 25});
  expect_result("chunk", {{"x", x}}, {"axis=0"}, {1, 2}, {1, -2});
  const Weights both = Weights::open(folder.file("out.safetensors"));
  EXPECT_EQ(both.floats("y2"), (std::vector<float>{3, 4}));
  EXPECT_EQ(both.tensors().size(), 2U);
  expect_refused("chunk", {"chunks=3"}, "chunk: expected 1 to 9 chunks that divide the extent 2 of axis 1, got 3");
  expect_refused("squeeze", {"axis=0"}, "squeeze: x has 2 elements along axis 0");
  expect_refused("flatten", {"first=1", "last=0"}, "flatten: axis 1 comes behind 0");
  save(folder.file("in.safetensors"), {{"x", x}});
  const Outcome then = run_frieze(
      {"op", "chunk", "--device", "cpu", "--in", folder.file("in.safetensors"), "--out", folder.file("out.safetensors"), "--then", "relu"});
  EXPECT_EQ(then.status, 2);
  EXPECT_NE(then.err.find("--then follows a layer of one output, chunk makes 2"), std::string::npos) << then.err;
}

TEST_F(ElementwiseOp, IndicesAndTimeSteps) {
  const RawTensor weight{{3, 2}, DType::f32, {1, 2, 3, 4, 5, 6}};
  expect_result("embedding", {{"x", {{2}, DType::i64, {2, 0}}}, {"weight", weight}}, {}, {2, 2}, {5, 6, 1, 2});
  expect_result("timestep_embedding", {{"x", {{1}, DType::f32, {0}}}}, {"width=4", "flip_sin_to_cos=true"}, {1, 4}, {1, 1, 0, 0});
  expect_result("cast", {{"x", {{2}, DType::i32, {2, -1}}}}, {"dtype=f32"}, {2}, {2, -1});
  expect_refused("embedding", {}, "weight");
  expect_refused("timestep_embedding", {"width=2"}, "downscale_freq_shift below half of the width");
}

}  // namespace
}  // namespace frieze::test

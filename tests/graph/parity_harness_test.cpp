// What the parity harness finds on the host; its work on a GPU is every parity test.
#include <gtest/gtest.h>

#include <frieze/testing/parity.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

// y = 2x, or what `wrong` says.
enum class Fault { none, unwritten, off, throws };
class Doubled final : public Layer {
 public:
  explicit Doubled(Fault fault = Fault::none) : fault_(fault) {}
  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    return elementwise_cost(in, in[0], 1);
  }
  void reference(const ReferenceArgs& args) const override {
    if (fault_ == Fault::throws) throw ShapeError("Doubled has had enough");
    std::vector<float> y = to_floats(args.in[0]);
    const float last = to_floats(args.out[0]).back();
    for (float& v : y) v *= fault_ == Fault::off ? 2.001F : 2;
    if (fault_ == Fault::unwritten) y.back() = last;
    from_floats(y, args.out[0]);
  }
  FormatRule formats(std::span<const TensorSpec>) const override { return {.nhwc = false}; }
  std::string_view type_name() const override { return "Doubled"; }

 private:
  Fault fault_;
};

bool tells(const ParityReport& report, const std::string& part) {
  return std::any_of(report.failures.begin(), report.failures.end(),
                     [&](const std::string& failure) { return failure.find(part) != std::string::npos; });
}

TEST(ParityHarnessTest, TheReferenceIsComparedWithGivenValues) {
  const ParityCase c{.inputs = {{1, 3}}, .values = {{1, 2, -3}}, .expected = {2, 4, -6}};
  const ParityReport right = check_parity(Doubled(), c);
  EXPECT_TRUE(right.referenced);
  EXPECT_EQ(right.reference_share, 0);
  EXPECT_FALSE(tells(right, "the reference is")) << right;
  const ParityReport off = check_parity(Doubled(Fault::off), c);
  EXPECT_FALSE(off.ok());
  EXPECT_GT(off.reference_share, 1);
  EXPECT_TRUE(tells(off, "Doubled on [1,3] f32 nchw given values: the reference is ")) << off;
  EXPECT_TRUE(tells(off, " of the budget from the expected values, max abs 0.00299")) << off;
}

TEST(ParityHarnessTest, AReferenceThatLeavesElementsUnwrittenFails) {
  EXPECT_TRUE(tells(check_parity(Doubled(Fault::unwritten), {.inputs = {{1, 3}}}), "it leaves some unwritten"));
  EXPECT_FALSE(tells(check_parity(Doubled(), {.inputs = {{1, 3}}}), "it leaves some unwritten"));
}

TEST(ParityHarnessTest, WhatIsThrownIsAFailure) {
  EXPECT_TRUE(tells(check_parity(Doubled(Fault::throws), {.inputs = {{1, 3}}}), "Doubled has had enough"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1}, {1}}}), "Doubled takes 1 input, got 2"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1}}, .values = {{1}, {2}}}), "values of 1 inputs are expected, got 2"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1}}, .expected = {2}}), "expected values go with given ones"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1}}, .dtype = DType::f16, .values = {{1}}, .expected = {2}}), "in f32"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1, 1, 2, 2}}, .format = Format::nhwc}), "the layer does not take this format"));
  EXPECT_TRUE(tells(check_parity(Doubled(), {.inputs = {{1}}, .epilogue = {{EpilogueOp::Kind::add, Activation::none}}}),
                    "the layer does not absorb this epilogue"));
}

TEST(ParityHarnessTest, WithoutAGpuItSaysWhatWasSkipped) {
  const ParityReport report = check_parity(Add(), {.inputs = {{2, 3}, {2, 3}}});
  std::ostringstream text;
  text << report;
  EXPECT_TRUE(report.ok()) << report;
  if (has_gpu()) {
    EXPECT_TRUE(report.compared);
    EXPECT_TRUE(contains(text.str(), "passed, the kernel at "));
  } else {
    EXPECT_FALSE(report.compared);
    EXPECT_EQ(text.str(), "passed, the kernel skipped: " + why_no_gpu() + "\n");
  }
}

}  // namespace
}  // namespace frieze::test

#include <frieze/core/layer.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <frieze/core/error.h>
#include "support/reference.h"

namespace frieze {
namespace {

using test::message_of;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr Activation kAll[] = {Activation::none, Activation::relu,      Activation::silu,
                               Activation::gelu, Activation::gelu_tanh, Activation::sigmoid};

// The least that a layer can be: the identity.
struct Identity : Layer {
  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    return elementwise_cost(in, in[0], 2);
  }
  void reference(const ReferenceArgs& args) const override { from_floats(to_floats(args.in[0]), args.out[0]); }
  std::string_view type_name() const override { return "Identity"; }
};

TEST(Activation, NamesGoBothWays) {
  for (const Activation a : kAll) EXPECT_EQ(parse_activation(name(a)), a);
  EXPECT_EQ(message_of<OptionError>([] { (void)parse_activation("swish\n"); }),
            "unknown activation 'swish\\x0a': expected none, relu, silu, gelu, gelu_tanh, sigmoid, tanh, softplus, mish, "
            "hardsigmoid, hardswish, leaky_relu, elu");
}

// Values of an arbitrary-precision calculator.
TEST(Activation, MatchesKnownValues) {
  EXPECT_EQ(activate(Activation::none, -1.25), -1.25);
  EXPECT_EQ(activate(Activation::relu, -1.25), 0);
  EXPECT_EQ(activate(Activation::relu, 1.25), 1.25);
  EXPECT_NEAR(activate(Activation::sigmoid, 1), 0.73105857863000487925, 1e-16);
  EXPECT_NEAR(activate(Activation::silu, 1), 0.73105857863000487925, 1e-16);
  EXPECT_NEAR(activate(Activation::silu, -2), -0.23840584404423511881, 1e-16);
  EXPECT_NEAR(activate(Activation::gelu, 1), 0.84134474606854294859, 2e-16);
  EXPECT_NEAR(activate(Activation::gelu, -2), -0.04550026389635841440, 3e-17);
  EXPECT_NEAR(activate(Activation::gelu_tanh, 1), 0.8411919906082767047819, 2e-16);
  EXPECT_NEAR(activate(Activation::gelu_tanh, -2), -0.045402305912224981218, 1e-15);
  // Where 1 + tanh(u) cancels: every digit is wanted there too.
  EXPECT_NEAR(activate(Activation::gelu_tanh, -4), -7.0245948192372689811e-5, 1e-18);
  EXPECT_NEAR(activate(Activation::gelu_tanh, -8), -3.1077829375011112180e-21, 1e-34);
}

TEST(Activation, LimitsAreDefined) {
  for (const Activation a : kAll) {
    EXPECT_TRUE(std::isnan(activate(a, kNan))) << name(a);
    if (a == Activation::none) continue;
    EXPECT_EQ(activate(a, -INFINITY), 0) << name(a);
    EXPECT_EQ(activate(a, -1e4), 0) << name(a);
    EXPECT_EQ(activate(a, INFINITY), a == Activation::sigmoid ? 1 : INFINITY) << name(a);
    EXPECT_EQ(activate(a, 3e38), a == Activation::sigmoid ? 1 : 3e38) << name(a);
    EXPECT_EQ(activate(a, -3e38), 0) << name(a);
    if (a != Activation::sigmoid) {
      EXPECT_EQ(activate(a, 0), 0) << name(a);
    }
  }
}

TEST(CheckInputs, NamesLayerExpectedAndGot) {
  const TensorSpec f32{{2, 3}}, f16{{2, 3}, DType::f16}, empty{{2, 0}};
  const TensorSpec two[] = {f32, f32}, mixed[] = {f32, f16};
  EXPECT_NO_THROW(check_inputs("Add", two, 2));
  EXPECT_EQ(message_of<ShapeError>([&] { check_inputs("Add", std::span(two, 1), 2); }), "Add takes 2 inputs, got 1");
  EXPECT_EQ(message_of<ShapeError>([&] { check_inputs("ReLU", two, 1); }), "ReLU takes 1 input, got 2");
  EXPECT_EQ(message_of<ShapeError>([&] { check_inputs("ReLU", std::span(&empty, 1), 1); }),
            "ReLU expects extents of at least 1, got [2,0]");
  EXPECT_EQ(message_of<DTypeError>([&] { check_inputs("Add", mixed, 2); }), "Add expects inputs of one dtype, got f32 and f16");
  EXPECT_NO_THROW(check_image("Conv2d", TensorSpec{{1, 2, 3, 4}}));
  EXPECT_EQ(message_of<ShapeError>([&] { check_image("Conv2d", f32); }), "Conv2d expects rank 4 as [N,C,H,W], got [2,3] of rank 2");
}

TEST(Layer, DefaultsAndCost) {
  const Identity layer;
  const TensorSpec in[] = {{{1, 2, 3, 5}, DType::f16}};
  const Inferred inferred = layer.infer(in);
  EXPECT_EQ(inferred.out[0], in[0]);
  EXPECT_EQ(inferred.flops, 60);
  EXPECT_EQ(inferred.bytes, 120);
  const EpilogueOp chain[] = {{EpilogueOp::Kind::activation, Activation::relu}};
  EXPECT_EQ(layer.absorbs(in, chain), 0U);
  EXPECT_FALSE(layer.as_epilogue(in).has_value());
  EXPECT_TRUE(layer.formats(in).nchw);
  EXPECT_TRUE(layer.formats(in).nhwc);
  EXPECT_FALSE(layer.formats(in).prefers.has_value());
  EXPECT_EQ(layer.describe(), "");
}

// A member layer goes to the tracer under its own path, with all its inputs, and is not owned by the step.
TEST(Layer, AppliedToValuesIsOneStep) {
  struct Recorder : Tracer {
    std::vector<Value> step(std::shared_ptr<const Layer> layer, const std::string& path, std::span<const Value> inputs) override {
      steps.push_back(path + "/" + std::string(layer->type_name()) + "/" + std::to_string(inputs.size()));
      owners = layer.use_count();
      return {Value(*this, 40 + static_cast<int>(steps.size()))};
    }
    const TensorSpec& spec(int) const override { return value; }
    void enter(const Module&) override {}
    void leave() override {}
    std::string functional_path(std::string_view op) override { return std::string(op); }
    std::vector<std::string> steps;
    long owners = -1;
    TensorSpec value{{7}};
  } tracer;
  struct Model : Module {
    Identity id;
    Model() { add("id", id); }
    Value forward(Value x) const override { return id(id(x), x); }
  } model;
  const Value y = model(Value(tracer, 0));
  EXPECT_EQ(tracer.steps, (std::vector<std::string>{"id/Identity/1", "id/Identity/2"}));
  EXPECT_EQ(tracer.owners, 0);
  EXPECT_EQ(y.id(), 42);
  EXPECT_EQ(y.shape(), Shape{7});

  Recorder other;
  EXPECT_EQ(message_of<OptionError>([&] { (void)model.id(y, Value(other, 0)); }),
            "id (Identity): values of two different traces cannot be combined");
}

}  // namespace
}  // namespace frieze

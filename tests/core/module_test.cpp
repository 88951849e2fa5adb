#include <frieze/core/module.h>

#include <gtest/gtest.h>

#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/load.h>
#include <frieze/core/module_list.h>

#include "core/files.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

// A leaf with two parameters, "weight" [2,3] (also known as "gamma", also in shapes with ones) and "bias" [2].
struct Leaf : Module {
  Parameter weight, bias;
  Leaf() {
    add_parameter(weight, "weight", {2, 3}, Init::fan_in(4));
    weight.aliases = {"gamma", "scale"};
    weight.squeeze = true;
    add_parameter(bias, "bias", {2}, Init::around(1, 0.25));
  }
  std::string_view type_name() const override { return "Leaf"; }
};

struct Block : Module {
  Leaf first, second;
  Block() {
    add("first", first);
    add("second", second);
  }
  std::string_view type_name() const override { return "Block"; }
};

struct Net : Module {
  Parameter scale;
  Block stem;
  ModuleList<Block> blocks;
  Net() {
    add_parameter(scale, "scale", {}, {});
    add("stem", stem);
    add("blocks", blocks);
    blocks.emplace_back();
    blocks.emplace_back();
  }
};

struct Open : Module {  // lets tests call what subclasses call
  using Module::add;
  using Module::add_parameter;
};

std::vector<std::string> keys(const Module& module) {
  std::vector<std::string> out;
  module.visit_parameters([&](const std::string& key, const Parameter&) { out.push_back(key); });
  return out;
}

TEST(Module, PathsAndKeysFollowTheTree) {
  const Net net;
  EXPECT_EQ(net.path(), "");
  EXPECT_EQ(net.stem.first.path(), "stem.first");
  EXPECT_EQ(net.blocks[1].second.path(), "blocks.1.second");
  EXPECT_EQ(net.blocks.size(), 2U);
  EXPECT_EQ(keys(net),
            (std::vector<std::string>{"scale", "stem.first.weight", "stem.first.bias", "stem.second.weight", "stem.second.bias",
                                      "blocks.0.first.weight", "blocks.0.first.bias", "blocks.0.second.weight", "blocks.0.second.bias",
                                      "blocks.1.first.weight", "blocks.1.first.bias", "blocks.1.second.weight", "blocks.1.second.bias"}));
}

TEST(Module, RefusesWrongChildren) {
  Open parent, child, other;
  for (const char* name : {"", "a.b", "."}) {
    EXPECT_EQ(message_of<OptionError>([&] { parent.add(name, child); }),
              "Open: a child's name must be non-empty and hold no dot, got '" + std::string(name) + "'");
  }
  parent.add("a", child);
  EXPECT_EQ(message_of<OptionError>([&] { parent.add("a", other); }), "Open: two children named 'a'");
  EXPECT_EQ(message_of<OptionError>([&] { other.add("b", child); }), "Open: 'b' already belongs to a module, as 'a'");
  EXPECT_EQ(message_of<OptionError>([&] { other.add("self", other); }), "Open: 'self' would be its own ancestor");
  EXPECT_EQ(message_of<OptionError>([&] { child.add("up", parent); }), "Open: 'up' would be its own ancestor");
  EXPECT_EQ(other.children().size(), 0U);
}

TEST(Module, RefusesWrongParameters) {
  Open module;
  Parameter a, b;
  module.add_parameter(a, "weight", {2}, Init::around(3, 0));
  EXPECT_EQ(a.values, (std::vector<float>{3, 3}));
  EXPECT_EQ(message_of<OptionError>([&] { module.add_parameter(b, "weight", {2}, {}); }), "Open: two parameters named 'weight'");
  EXPECT_EQ(message_of<OptionError>([&] { module.add_parameter(b, "", {2}, {}); }), "Open: a parameter needs a name");
  EXPECT_EQ(module.parameters().size(), 1U);
}

TEST(Module, WithoutAForwardSaysSo) {
  struct NoTracer : Tracer {
    std::vector<Value> step(std::shared_ptr<const Layer>, const std::string&, std::span<const Value>) override {
      throw OptionError("no step");
    }
    const TensorSpec& spec(int) const override { return spec_; }
    void enter(const Module&) override { ++depth; }
    void leave() override { --depth; }
    std::string functional_path(std::string_view op) override { return std::string(op); }
    TensorSpec spec_;
    int depth = 0;
  } tracer;
  const Net net;
  const Value x(tracer, 0);
  EXPECT_EQ(message_of<OptionError>([&] { (void)net(x); }), "Net: called with 1 input, but it defines no forward() of 1 input");
  EXPECT_EQ(message_of<OptionError>([&] { (void)net.stem.first(x); }),
            "stem.first (Leaf): called with 1 input, but it defines no forward() of 1 input");
  EXPECT_EQ(message_of<OptionError>([&] {
              (void)net.stem.forward_named({{"a", x}, {"b", x}});
            }),
            "stem (Block): called with 2 inputs, but it defines no forward() of 2 inputs");
  EXPECT_EQ(tracer.depth, 0) << "every module that was entered was left";
  NoTracer other;
  const Value values[] = {x, Value(other, 0)};
  EXPECT_TRUE(message_of<OptionError>([&] {
                (void)apply(nullptr, "add", values);
              }).starts_with("add: values of two different traces cannot be combined (module_test.cpp:"));
  EXPECT_EQ(message_of<OptionError>([&] { (void)apply(nullptr, "add", {}); }), "add: needs at least one value");
}

TEST(Parameter, RoundsAllItsValues) {
  Leaf leaf;
  leaf.bias.values = {1 + 0x1p-9F, 3};
  EXPECT_EQ(leaf.bias.rounded(DType::f32), leaf.bias.values);
  EXPECT_EQ(leaf.bias.rounded(DType::bf16), (std::vector<float>{1, 3}));
}

// --- init_random ----------------------------------------------------------------------------------------------------

// Pinned: results files and golden data are made of these.
TEST(InitRandom, IsTheSameOnEveryMachine) {
  Net net;
  init_random(net, 7);
  EXPECT_EQ(net.stem.first.weight.values,
            (std::vector<float>{-0x1.9085cp-2F, -0x1.d27f1ep-2F, -0x1.46a194p-3F, 0x1.63825ap-5F, -0x1.c0f488p-3F, -0x1.a7f2aep-3F}));
  EXPECT_EQ(net.blocks[1].second.bias.values, (std::vector<float>{0x1.f14de2p-1F, 0x1.8f4e8p-1F}));
  EXPECT_EQ(net.scale.values, std::vector<float>{0});  // no spread
}

TEST(InitRandom, StaysInItsRangeAndIsCentered) {
  Open module;
  Parameter p;
  module.add_parameter(p, "p", {100'000}, Init::around(1, 0.25));
  init_random(module, 1);
  double sum = 0, squares = 0;
  for (const float v : p.values) {
    ASSERT_GE(v, 0.75F);
    ASSERT_LE(v, 1.25F);
    sum += v - 1;
    squares += (v - 1) * (v - 1);
  }
  EXPECT_NEAR(sum / 1e5, 0, 5 * 0.25 / std::sqrt(3e5));  // five standard errors of a uniform mean
  EXPECT_NEAR(squares / 1e5, 0.0625 / 3, 1e-3);
}

TEST(InitRandom, DependsOnKeyAndSeedOnly) {
  Net a, b;
  Block alone;
  init_random(a, 7);
  init_random(b, 8);
  EXPECT_NE(a.stem.first.weight.values, b.stem.first.weight.values);
  EXPECT_NE(a.stem.first.weight.values, a.stem.second.weight.values);
  init_random(b, 7);
  EXPECT_EQ(a.stem.first.weight.values, b.stem.first.weight.values);
  init_random(alone, 7);
  Open root;
  Block stem;
  root.add("stem", stem);
  init_random(root, 7);
  EXPECT_EQ(stem.first.weight.values, a.stem.first.weight.values) << "whatever else is in the tree";
}

TEST(InitRandom, NeighbouringSeedsAndKeysDoNotTradePlaces) {
  ModuleList<Leaf> even, odd;
  for (int i = 0; i < 2; ++i) even.emplace_back(), odd.emplace_back();
  init_random(even, 0);
  init_random(odd, 1);
  EXPECT_NE(even[0].weight.values, odd[1].weight.values);  // '0' and '1' differ in the same bit as the seeds
  EXPECT_NE(even[1].weight.values, odd[0].weight.values);
}

}  // namespace
}  // namespace frieze::test

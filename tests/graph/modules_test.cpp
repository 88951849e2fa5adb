// Modules of several inputs, containers of modules, and what messages say of a forward.
#include <gtest/gtest.h>

#include <frieze/core/module_list.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/split/split.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct Film final : Module {
  Times proj;
  Film() { add("proj", proj); }
  Value forward(Value x, Value t) const override { return relu(x + proj(t)); }
};

TEST(ModulesTest, ABlockOfTwoInputsIsCalledAndKeepsItsPath) {
  struct Net final : Module {
    Film mid;
    ModuleList<Film> blocks;
    Net() {
      add("mid", mid), add("blocks", blocks);
      blocks.emplace_back(), blocks.emplace_back();
    }
    Value forward(Value x, Value t) const override {
      x = mid(x, t);
      for (const Film& block : blocks) x = block(x, t);
      return x;
    }
  };
  const Plan plan = trace(Net(), {{"x", {1, 4}}, {"t", {1, 4}}});
  EXPECT_EQ(labels(plan), "mid.proj mid.add mid.relu blocks.0.proj blocks.0.add blocks.0.relu blocks.1.proj blocks.1.add blocks.1.relu");
  EXPECT_EQ(plan.steps[0].inputs, std::vector<int>{plan.input("t")});
}

TEST(ModulesTest, UpToSixInputsByArgumentAndAnyNumberAsASpan) {
  struct Six final : Module {
    Value forward(Value a, Value b, Value c, Value d, Value e, Value f) const override { return a + b + c + d + e + f; }
  };
  struct Any final : Module {
    using Module::forward;
    Value forward(std::span<const Value> in) const override { return concat({in.begin(), in.end()}); }
  };
  struct Net final : Module {
    Six six;
    Any any;
    Net() { add("six", six), add("any", any); }
    Value forward(Value x) const override {
      const std::vector<Value> many(9, x);
      const Value sum = six(x, x, x, x, x, x), all = any(many), one = any(x);
      return any(sum, all, one);
    }
  };
  const Plan plan = trace(Net(), {{"x", {1, 2}}});
  EXPECT_EQ(labels(plan), "six.add six.add_1 six.add_2 six.add_3 six.add_4 any.concat any.concat_1 any.concat_2");
  EXPECT_EQ(plan.spec(plan.output("y")).shape, Shape({1, 2 + 18 + 2}));
}

TEST(ModulesTest, AWrongNumberOfInputsNamesPathAndClass) {
  struct Net final : Module {
    Film mid;
    Sequential list{std::make_unique<Film>(), std::make_unique<Film>()};
    int what;
    explicit Net(int what) : what(what) { add("mid", mid), add("list", list); }
    Value forward(Value x) const override {
      switch (what) {
        case 0: return mid(x);
        case 1: return mid(x, x, x);
        case 2: return mid(std::vector<Value>(8, x));
        case 3: return list(x, x);  // the second one gets one value
        default: return mid(std::span<const Value>());
      }
    }
  };
  const auto refused = [](int what) { return message_of<OptionError>([&] { (void)trace(Net(what), {{"x", {1, 4}}}); }); };
  EXPECT_EQ(refused(0), "mid (Film): called with 1 input, but it defines no forward() of 1 input");
  EXPECT_EQ(refused(1), "mid (Film): called with 3 inputs, but it defines no forward() of 3 inputs");
  EXPECT_EQ(refused(2), "mid (Film): called with 8 inputs, but it defines no forward() of 8 inputs");
  EXPECT_EQ(refused(3), "list.1 (Film): called with 1 input, but it defines no forward() of 1 input");
  EXPECT_EQ(refused(4), "mid (Film): needs at least one value");
  EXPECT_EQ(message_of<OptionError>([] {
              (void)trace(Net(0), {{"x", {1}}, {"t", {1}}});
            }),
            "Net: called with 2 inputs, but it defines no forward() of 2 inputs")
      << "the root is called by its class";
}

TEST(ModulesTest, ALayerThroughAReferenceToModuleTakesAllItsInputs) {
  struct Net final : Module {
    std::unique_ptr<Module> sum = std::make_unique<Add>();
    Net() { add("sum", *sum); }
    Value forward(Value a, Value b) const override { return (*sum)(a, b); }
  };
  EXPECT_EQ(labels(trace(Net(), {{"a", {2}}, {"b", {2}}})), "sum");
  EXPECT_EQ(message_of<ShapeError>([] {
              const Net net;
              (void)trace(Lambda([&](Value x) { return (*net.sum)(x); }), {{"x", {2}}});
            }),
            "sum: Add takes 2 inputs, got 1");
}

TEST(ModulesTest, SequentialRunsItsItemsInTheirScopes) {
  struct Net final : Module {
    Sequential mlp{silu, std::make_unique<Linear>(4, 8), [](Value x) { return relu(x) * 2; }, std::make_unique<SiLU>()};
    Sequential none;
    Net() { add("mlp", mlp), add("none", none); }
    Value forward(Value x) const override { return mlp(none(x)); }
  };
  Net net;
  const Plan plan = trace(net, {{"x", {1, 4}}});
  EXPECT_EQ(labels(plan), "mlp.0.silu mlp.1 mlp.2.relu mlp.2.scale mlp.3");
  std::vector<std::string> keys;
  net.visit_parameters([&](const std::string& key, const Parameter&) { keys.push_back(key); });
  EXPECT_EQ(keys, (std::vector<std::string>{"mlp.1.weight", "mlp.1.bias"}));
  const Lambda several([&](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"y", net.none(in[0].value, in[1].value)}};
  });
  EXPECT_EQ(message_of<OptionError>([&] {
              (void)trace(several, {{"a", {1}}, {"b", {1}}});
            }),
            "none (Sequential): called with 2 inputs, but it defines no forward() of 2 inputs");
}

// --- messages of functional steps -----------------------------------------------------------------------------------

// The message of a model whose inner module is `body`.
template <class E>
std::string told(const std::function<Value(Value)>& body) {
  struct Net final : Module {
    struct Inner final : Module {
      std::function<Value(Value)> body;
      Value forward(Value x) const override { return body(x); }
    } inner;
    Net() { add("inner", inner); }
    Value forward(Value x) const override { return inner(x); }
  } net;
  net.inner.body = body;
  return message_of<E>([&] { (void)trace(net, {{"x", {1, 3, 2, 2}}}); });
}
std::string at(int line) { return " (modules_test.cpp:" + std::to_string(line) + ")"; }

TEST(ModulesTest, FunctionalStepsTellTheLineOfTheProgram) {
  const int line = __LINE__;
  const std::string sum = told<ShapeError>([](Value x) { return x + times(x, {.large_output = true}); });
  EXPECT_TRUE(sum.starts_with("inner.add: Add ") && sum.ends_with(at(line + 1))) << sum;
  const std::string scaled = told<OptionError>([](Value x) { return x * INFINITY; });
  EXPECT_TRUE(scaled.starts_with("inner.scale: Scale ") && scaled.ends_with(at(line + 3))) << scaled;
  const std::string upsampled = told<OptionError>([](Value x) { return upsample(relu(x), 0); });
  EXPECT_TRUE(upsampled.starts_with("inner.upsample: Upsample ") && upsampled.ends_with(at(line + 5))) << upsampled;
  const std::string parts = told<ShapeError>([](Value x) { return chunk(x, 2).front(); });
  EXPECT_EQ(parts, "inner.chunk: chunk expects an extent that 2 divides along axis 1, got x [1,3,2,2]" + at(line + 7));
  const std::string side = told<ShapeError>([](Value x) { return concat({x, global_avg_pool(x)}); });
  EXPECT_TRUE(side.starts_with("inner.concat: Concat ") && side.ends_with(at(line + 9))) << side;
  const std::string none = told<OptionError>([](Value) { return concat({}); });
  EXPECT_EQ(none, "concat: needs at least one value" + at(line + 11));
  const std::string lambda = told<ShapeError>([](Value x) {
    const auto gated = [](Operand v) { return apply(std::make_shared<Concat>(), "gate", {v, silu(global_avg_pool(v))}); };
    return gated(x);  // a step of the program's own that hands its caller's line on
  });
  EXPECT_TRUE(lambda.starts_with("inner.gate: Concat ") && lambda.ends_with(at(line + 15))) << lambda;
}

// --- values ---------------------------------------------------------------------------------------------------------

TEST(ModulesTest, AnEmptyValueIsToldWhereverItIsUsed) {
  const Value none;
  EXPECT_TRUE(none.empty());
  EXPECT_FALSE(none.usable());
  EXPECT_EQ(none.text(), "an empty Value");
  EXPECT_EQ(message_of<OptionError>([&] { (void)none.shape(); }),
            "Value: its value is empty: it was declared, and nothing was assigned to it");
  const int line = __LINE__;
  const std::string sum = told<OptionError>([](Value x) { return x + Value(); });
  EXPECT_EQ(sum, "inner.add: value 2 of 2 is empty: it was declared, and nothing was assigned to it" + at(line + 1));
  const std::string unary = told<OptionError>([](Value) { return silu(Value()); });
  EXPECT_EQ(unary, "silu: its value is empty: it was declared, and nothing was assigned to it" + at(line + 3));
  const std::string parts = told<OptionError>([](Value) { return chunk(Value(), 2).front(); });
  EXPECT_EQ(parts, "chunk: its value is empty: it was declared, and nothing was assigned to it" + at(line + 5));
  Film film;
  EXPECT_EQ(told<OptionError>([&](Value x) { return film(x, Value()); }),
            "Film: value 2 of 2 is empty: it was declared, and nothing was assigned to it");
  EXPECT_EQ(told<OptionError>([&](Value) { return film.proj(Value()); }),
            "proj (Times): its value is empty: it was declared, and nothing was assigned to it");
  EXPECT_EQ(message_of<OptionError>([&] {
              (void)trace(Lambda([](Value) { return Value(); }), {{"x", {1}}});
            }),
            "Lambda: output 'y': its value is empty: it was declared, and nothing was assigned to it");
}

TEST(ModulesTest, AValueThatAForwardKeptIsRefusedInTheNext) {
  struct Keeper final : Module {
    mutable Value kept;
    Value forward(Value x) const override {
      if (kept.empty()) kept = x;
      return x + kept;
    }
  } keeper;
  (void)trace(keeper, {{"x", {1}}});
  EXPECT_EQ(keeper.kept.text(), "a Value of a trace that has ended");
  const std::string text = message_of<OptionError>([&] { (void)trace(keeper, {{"x", {1}}}); });
  EXPECT_TRUE(text.starts_with("add: value 2 of 2 is of a trace that has ended: values cannot be kept from one forward for another ("))
      << text;
  EXPECT_THROW((void)keeper.kept.shape(), OptionError);
}

TEST(ModulesTest, ValuesSayWhatTheyAre) {
  std::vector<std::string> seen;
  const Lambda model([&](Value x) {
    Value y;
    y = silu(x);
    for (const Value& v : {x, y}) seen.push_back(v.text());
    std::ostringstream text;
    text << y * 2;
    seen.push_back(text.str());
    return y;
  });
  (void)trace(model, {{"photo", {1, 3, 4, 4}, DType::bf16}});
  EXPECT_EQ(seen, (std::vector<std::string>{"photo [1,3,4,4] bf16 nchw", "silu [1,3,4,4] bf16 nchw", "scale [1,3,4,4] bf16 nchw"}));
}

}  // namespace
}  // namespace frieze::test

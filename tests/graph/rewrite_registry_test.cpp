// Rewrites that a program registers: what they see, what they may give, and what is refused by their name.
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include <frieze/graph/repeat.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>

#include "graph/test_layers.h"
#include "support/registered_rewrite.h"

namespace frieze::test {
namespace {

using Registered = RegisteredRewrite;

std::shared_ptr<const Layer> by(float factor, std::size_t absorbs = 0) {
  return std::make_shared<Times>(TimesOptions{.factor = factor, .absorbs = absorbs});
}

// Times a, then times b: times a * b. Only factors of 2, so that other tests' steps stay.
std::optional<Replacement> product(const StepView& shown) {
  const auto before = shown.as<Times>() != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
  if (!before || before->as<Times>() == nullptr) return std::nullopt;
  const float factor = shown.as<Times>()->options().factor * before->as<Times>()->options().factor;
  return Replacement{.steps = {{by(factor), {before->input(0)}}}, .absorbed = {*before}};
}

Plan plan_of(const std::function<Value(Value)>& model, const PassOptions& options = {.fuse = false, .formats = false}) {
  return optimize(trace(Lambda(model), {{"x", {1, 2, 2, 2}}}), options);
}

Value thrice(Value x) { return times(times(times(x))); }

TEST(RewriteRegistryTest, AProgramsRewriteAppliesIsCountedAndCanBeLeftOut) {
  const Registered own("two products as one", product);
  const Plan plan = plan_of(thrice);
  EXPECT_EQ(labels(plan), "times_2");
  EXPECT_EQ(plan.steps[0].layer->describe(), "by 8");
  EXPECT_EQ(plan.steps[0].replaced, (std::vector<std::string>{"times", "times_1"}));
  EXPECT_EQ(plan.rewrites, (std::vector<AppliedRewrite>{{"two products as one", 2}}));
  const Plan kept = plan_of(thrice, {.fuse = false, .formats = false, .without = {"two products as one"}});
  EXPECT_EQ(labels(kept), "times times_1 times_2");
  EXPECT_TRUE(kept.rewrites.empty());
  EXPECT_EQ(labels(plan_of(thrice, {.rewrite = false})), "times times_1 times_2");
}

TEST(RewriteRegistryTest, SessionsComputeTheSame) {
  const Registered own("two products as one", product);
  Session net = compile(Lambda(thrice), {{"x", {1, 1, 1, 3}}}, Device::reference());
  net.input().copy_from(std::vector<float>{1, -2, 3});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{8, -16, 24}));
  EXPECT_EQ(net.plan().rewrites.size(), 1U);
  Session exact = compile(Lambda(thrice), {{"x", {1, 1, 1, 3}}}, Device::reference(), {.passes = {.without = {"two products as one"}}});
  EXPECT_EQ(exact.plan().steps.size(), 3U);
  const std::string message = message_of<OptionError>([&] { (void)net.tap("times_1"); });
  EXPECT_TRUE(contains(message, "'times_1' has no value of its own: a rewrite made it part of 'times_2'")) << message;
}

TEST(RewriteRegistryTest, NamesThatThereAreNotAreRefusedWithThoseThatThereAre) {
  for (const char* name : {"two products as one", "", "Batch norm into weights", "batch norm"}) {
    const std::string message = message_of<OptionError>([&] { (void)plan_of(thrice, {.rewrite = false, .without = {name}}); });
    EXPECT_EQ(message,
              concat_text("no rewrite '", name,
                          "': there are 'batch norm into weights', 'shortcut where it is added', 'nearest x2 before 3x3 as phases'"));
  }
  EXPECT_NO_THROW(plan_of(thrice, {.without = {"batch norm into weights", "nearest x2 before 3x3 as phases"}}));
}

TEST(RewriteRegistryTest, NamesAreTakenOnceAndPrintable) {
  const Registered own("two products as one", product);
  EXPECT_EQ(message_of<OptionError>([] { rewrite_registry().add("two products as one", product); }),
            "two rewrites named 'two products as one'");
  EXPECT_THROW(rewrite_registry().add("batch norm into weights", product), OptionError);
  EXPECT_THROW(rewrite_registry().add("", product), OptionError);
  EXPECT_THROW(rewrite_registry().add("two\nlines", product), OptionError);
  EXPECT_THROW(rewrite_registry().add("nothing", nullptr), OptionError);
  EXPECT_FALSE(rewrite_registry().remove("nothing"));
}

TEST(RewriteRegistryTest, AStepIsSeenWithItsNeighbours) {
  int seen = 0;
  const Registered own("looks", [&](const StepView& shown) -> std::optional<Replacement> {
    if (shown.path() != "middle") return std::nullopt;
    ++seen;
    EXPECT_EQ(shown.inputs(), 1U);
    EXPECT_EQ(shown.maker(0)->path(), "first");
    EXPECT_FALSE(shown.maker(0)->maker(0)) << "the model is given it";
    EXPECT_FALSE(shown.maker_for_this_alone(0)) << "the addition takes it too";
    EXPECT_EQ(shown.maker(0)->uses(), 2U);
    EXPECT_EQ(shown.uses(), 4U) << "twice by one step, once by another, and the model outputs it";
    EXPECT_TRUE(shown.is_model_output());
    std::string users;
    for (const StepView& user : shown.users()) users += user.path() + " ";
    EXPECT_EQ(users, "twice add ");
    EXPECT_EQ(shown.in(0), (TensorSpec{{1, 2, 2, 2}, DType::f32}));
    EXPECT_EQ(shown.out().shape, (Shape{1, 2, 2, 2}));
    EXPECT_THROW((void)shown.in(1), OptionError);
    EXPECT_TRUE(shown.epilogue().empty());
    return std::nullopt;
  });
  const Lambda model(Lambda::Forward([](const std::vector<NamedValue>& in) {
    const Value first = apply(by(3), "first", {&in[0].value, 1}), middle = apply(by(5), "middle", {&first, 1});
    const Value both[] = {middle, middle};
    return std::vector<NamedValue>{{"y", apply(std::make_shared<Add>(), "twice", both)}, {"m", middle}, {"z", first + middle}};
  }));
  (void)optimize(trace(model, {{"x", {1, 2, 2, 2}}}));
  EXPECT_EQ(seen, 1);
}

// What a rewrite gives is checked before it stands in the plan. The model: x -> a -> b -> c (shown); b is an output, a is used by d too.
struct Nonsense {
  const char* what;
  std::function<Replacement(const StepView&)> give;
  const char* said;
};

std::string refusal(const Nonsense& nonsense) {
  const Registered own("nonsense", [&](const StepView& shown) -> std::optional<Replacement> {
    if (shown.path() != "c") return std::nullopt;
    return nonsense.give(shown);
  });
  const Lambda model(Lambda::Forward([](const std::vector<NamedValue>& in) {
    const auto step = [](const char* name, Value x) { return apply(by(2), name, {&x, 1}); };
    const Value a = step("a", in[0].value), b = step("b", a), lone = step("lone", b), c = step("c", lone);
    return std::vector<NamedValue>{{"y", c}, {"b", b}, {"d", step("d", a)}};
  }));
  return message_of<Error>([&] { (void)optimize(trace(model, {{"x", {1, 2, 2, 2}}})); });
}

TEST(RewriteRegistryTest, NonsenseIsRefusedByName) {
  const auto larger = std::make_shared<Times>(TimesOptions{.large_output = true});
  const auto c = [](const StepView& s) { return s.input(0); };
  const auto lone = [](const StepView& s) { return *s.maker(0); };
  const auto b = [](const StepView& s) { return *s.maker(0)->maker(0); };
  const auto a = [](const StepView& s) { return *s.maker(0)->maker(0)->maker(0); };
  const FusedOp relu{{EpilogueOp::Kind::activation, Activation::relu}, std::make_shared<ActivationLayer>(Activation::relu), "r"};
  const FusedOp sum{{EpilogueOp::Kind::add}, std::make_shared<Add>(), "s"};
  const Nonsense cases[] = {
      {"nothing", [&](const StepView&) { return Replacement{}; }, "gives no step in its place"},
      {"no layer",
       [&](const StepView& s) {
         return Replacement{{{nullptr, {c(s)}}}};
       },
       "step 0 of what it gives has no layer"},
      {"another shape",
       [&](const StepView& s) {
         return Replacement{{{larger, {c(s)}}}};
       },
       "gives Times that makes [1,4,2,2] f32 in place of [1,2,2,2] f32"},
      {"too few inputs",
       [&](const StepView&) {
         return Replacement{{{by(2), {}}}};
       },
       "Times takes 1 input, got 0"},
      {"too many inputs",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s), c(s)}}}};
       },
       "Times takes 1 input, got 2"},
      {"its own output",
       [&](const StepView& s) {
         return Replacement{{{by(2), {ValueRef{s.input(0).value + 1}}}}};
       },
       "takes a value that nobody makes before it"},
      {"a value from nowhere",
       [&](const StepView&) {
         return Replacement{{{by(2), {ValueRef{12345}}}}};
       },
       "takes a value that nobody makes before it"},
      {"no value",
       [&](const StepView&) {
         return Replacement{{{by(2), {ValueRef{}}}}};
       },
       "takes no value, or two at once"},
      {"two values in one",
       [&](const StepView&) {
         return Replacement{{{by(2), {ValueRef{0, 0}}}}};
       },
       "takes no value, or two at once"},
      {"itself",
       [&](const StepView&) {
         return Replacement{{{by(2), {ValueRef::made_by(0)}}}};
       },
       "which does not come before it"},
      {"a later step of its own",
       [&](const StepView& s) {
         return Replacement{{{by(2), {ValueRef::made_by(1)}}, {by(2), {c(s)}}}};
       },
       "which does not come before it"},
      {"a step for nobody",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}, {by(4), {c(s)}}}};
       },
       "nobody takes what its step 0, Times, makes"},
      {"an output of the model",
       [&](const StepView& s) {
         return Replacement{{{by(2), {b(s).input(0)}}}, {lone(s), b(s)}};
       },
       "absorbs 'b', which the model outputs"},
      {"a step that another needs",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {a(s)}};
       },
       "absorbs 'a', which others need"},
      {"a step that it still needs itself",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {lone(s)}};
       },
       "takes a value that nobody makes before it"},
      {"the shown step",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {s}};
       },
       "absorbs 'c', which does not come before it"},
      {"a later step",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {a(s).users().back()}};
       },
       "absorbs 'd', which does not come before it"},
      {"one step twice",
       [&](const StepView& s) {
         return Replacement{{{by(2), {lone(s).input(0)}}}, {lone(s), lone(s)}};
       },
       "absorbs a step twice"},
      {"a step that there is not",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {StepView(*s.plan(), 99)}};
       },
       "absorbs a step that is not in the plan"},
      {"named after nobody",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {}, 0};
       },
       "is named after absorbed step 0 of 0"},
      {"named after somebody else",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}}, {}, -2};
       },
       "is named after absorbed step -2 of 0"},
      {"an epilogue that is not absorbed",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}, {relu}}}};
       },
       "gives Times an epilogue that it does not absorb"},
      {"an epilogue without its operand",
       [&](const StepView& s) {
         return Replacement{{{by(2, 1), {c(s)}, {sum}}}};
       },
       "Times takes 1 input, got 0"},
      {"an epilogue that its layer is not",
       [&](const StepView& s) {
         return Replacement{{{by(2, 1), {c(s)}, {{relu.op, sum.layer, "r"}}}}};
       },
       "gives Times an epilogue that Add is not"},
      {"an epilogue without a layer",
       [&](const StepView& s) {
         return Replacement{{{by(2, 1), {c(s)}, {{relu.op, nullptr, "r"}}}}};
       },
       "gives Times an epilogue without a layer"},
      {"a second output",
       [&](const StepView& s) {
         return Replacement{{{by(2), {c(s)}}, {by(2), {ValueRef::made_by(0, 1)}}}};
       },
       "takes output 1 of step 0, which has 1"},
      {"an exception", [](const StepView&) -> Replacement { throw std::runtime_error("out of ideas"); }, "out of ideas"},
      {"an input that there is not",
       [](const StepView& s) {
         return Replacement{{{by(2), {s.input(7)}}}};
       },
       "there is no input 7"},
  };
  for (const Nonsense& nonsense : cases) {
    const std::string message = refusal(nonsense);
    EXPECT_TRUE(message.starts_with("rewrite 'nonsense' at 'c': ")) << nonsense.what << ": " << message;
    EXPECT_TRUE(contains(message, nonsense.said)) << nonsense.what;
  }
}

TEST(RewriteRegistryTest, EveryRewriteComesToAnEnd) {
  const auto chain = [](Value x) {
    for (int i = 0; i < 3000; ++i) x = times(x);
    return x;
  };
  const auto refused = [&] { return message_of<Error>([&] { (void)plan_of(chain); }); };
  {
    const Registered own("itself", [](const StepView& shown) -> std::optional<Replacement> {
      return Replacement{{{shown.shared_layer(), {shown.input(0)}}}};
    });
    EXPECT_EQ(refused(), "rewrite 'itself' at 'times': it, or one that undoes it, finds no end: 32 replacements in a row of what it made");
  }
  const auto swap = [](float from, float to) {
    return [=](const StepView& shown) -> std::optional<Replacement> {
      const auto* layer = shown.as<Times>();
      if (layer == nullptr || layer->options().factor != from) return std::nullopt;
      return Replacement{{{by(to), {shown.input(0)}}}};
    };
  };
  {
    const Registered there("there", swap(2, 3)), back("back", swap(3, 2));
    EXPECT_TRUE(contains(refused(), "finds no end"));
  }
  {
    const Registered grows("grows", [](const StepView& shown) -> std::optional<Replacement> {
      return Replacement{{{by(1), {shown.input(0)}}, {by(2), {ValueRef::made_by(0)}}}};
    });
    EXPECT_TRUE(contains(refused(), "rewrite 'grows' at 'times"));
  }
  // Takes the step before it too, each time: that ends by itself, however long the chain.
  const Registered own("two products as one", [](const StepView& shown) -> std::optional<Replacement> {
    const auto before = shown.maker_for_this_alone(0);
    if (!before) return std::nullopt;
    return Replacement{.steps = {{by(1), {before->input(0)}}}, .absorbed = {*before}, .named_after = 0};
  });
  const Plan plan = plan_of(chain);
  ASSERT_EQ(labels(plan), "times");
  EXPECT_EQ(plan.steps[0].merged.size(), 2999U);
  EXPECT_EQ(plan.rewrites.at(0).times, 2999);
}

TEST(RewriteRegistryTest, AfterFusionStepsHaveTheirEpilogue) {
  // by 2 + relu, then by 5: one step by 10, its chain kept. Relu and a positive factor commute.
  const Registered own(
      "product through relu",
      [](const StepView& shown) -> std::optional<Replacement> {
        const auto before = shown.as<Times>() != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
        const auto* first = before ? dynamic_cast<const Times*>(&before->layer()) : nullptr;
        if (first == nullptr || before->epilogue().size() != 1) return std::nullopt;
        EXPECT_EQ(before->as<Times>(), nullptr) << "it absorbed something";
        const float factor = first->options().factor * shown.as<Times>()->options().factor;
        const std::vector<FusedOp> chain(before->epilogue().begin(), before->epilogue().end());
        return Replacement{.steps = {{by(factor, 1), {before->input(0)}, chain}}, .absorbed = {*before}, .named_after = 0};
      },
      RewriteStage::after_fusion);
  const Lambda model([](Value x) { return times(relu(times(x, {.absorbs = 1})), {.factor = 5}); });
  Session net = compile(model, {{"x", {1, 1, 1, 3}}}, Device::reference());
  EXPECT_EQ(labels(net.plan()), "times+relu");
  EXPECT_EQ(net.plan().steps[0].merged, (std::vector<std::string>{"times_1"}));
  EXPECT_EQ(net.plan().steps[0].flops, 6);
  EXPECT_EQ(net.plan().rewrites, (std::vector<AppliedRewrite>{{"product through relu", 1}}));
  net.input().copy_from(std::vector<float>{1, -2, 3});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{10, 0, 30}));
  EXPECT_EQ(optimize(trace(model, {{"x", {1, 1, 1, 3}}}), {.fuse = false}).rewrites.size(), 0U);
}

// a * x and b * x.
class TwoTimes final : public Layer {
 public:
  TwoTimes(float a, float b) : a_(a), b_(b) {}
  float a() const { return a_; }
  float b() const { return b_; }
  Inferred infer(std::span<const TensorSpec> in) const override {
    check_inputs(type_name(), in, 1);
    return {{in[0], in[0]}, 0, 0};
  }
  void reference(const ReferenceArgs& args) const override {
    for (std::size_t k = 0; k < 2; ++k) {
      std::vector<float> y = to_floats(args.in[0]);
      for (float& v : y) v *= k == 0 ? a_ : b_;
      from_floats(y, args.out[k]);
    }
  }
  std::string_view type_name() const override { return "TwoTimes"; }

 private:
  float a_, b_;
};

TEST(RewriteRegistryTest, StepsOfSeveralOutputs) {
  const auto two = [](Value x, float a, float b) { return apply_all(std::make_shared<TwoTimes>(a, b), "two", {&x, 1}); };
  const Lambda model([&](Value x) {
    const std::vector<Value> y = two(times(x), 3, 5);
    return times(y[0], {.factor = 7}) + y[1];
  });
  const auto traced = [&] { return trace(model, {{"x", {1, 1, 1, 3}}}); };
  float b = 10;
  int seen = 0;
  const auto into_both = [&](const StepView& shown) -> std::optional<Replacement> {
    if (shown.as<Times>() != nullptr && shown.as<Times>()->options().factor == 7) {
      EXPECT_EQ(shown.maker(0)->outputs(), 2U);
      EXPECT_FALSE(shown.maker_for_this_alone(0)) << "the addition needs the other output";
      EXPECT_THROW((void)shown.maker(0)->out(2), OptionError);
      ++seen;
    }
    const auto before = shown.as<TwoTimes>() != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
    if (!before || before->as<Times>() == nullptr) return std::nullopt;
    EXPECT_EQ(shown.uses(0), 1U);
    EXPECT_EQ(shown.users(1).at(0).path(), "add");
    return Replacement{.steps = {{std::make_shared<TwoTimes>(6.0F, b), {before->input(0)}}}, .absorbed = {*before}};
  };
  {
    const Registered own("into both", into_both);
    Session net = compile(optimize(traced()), Device::reference());
    EXPECT_EQ(labels(net.plan()), "two times_1 add");
    net.input().copy_from(std::vector<float>{1, -2, 3});
    net.run();
    EXPECT_EQ(net.output().floats(), (std::vector<float>{52, -104, 156}));
    EXPECT_TRUE(verify_rewrites(traced()).at(0).ok());
    b = 10.001F;
    EXPECT_FALSE(verify_rewrites(traced()).at(0).ok()) << "of the second output alone";
    EXPECT_GT(seen, 0);
  }
  const auto refused = [&](const RewriteFunction& apply) {
    const Registered own("nonsense", apply);
    return message_of<Error>([&] { (void)optimize(traced()); });
  };
  EXPECT_EQ(refused([](const StepView& shown) -> std::optional<Replacement> {
              if (shown.as<TwoTimes>() == nullptr) return std::nullopt;
              return Replacement{{{by(2), {shown.input(0)}}}};
            }),
            "rewrite 'nonsense' at 'two': gives Times that makes 1 values in place of 2");
  EXPECT_EQ(refused([](const StepView& shown) -> std::optional<Replacement> {
              if (shown.path() != "times_1") return std::nullopt;
              return Replacement{{{by(2), {shown.maker(0)->input(0)}}}, {*shown.maker(0)}};
            }),
            "rewrite 'nonsense' at 'times_1': absorbs 'two', which others need");
  // A value in between may be the second one of a step.
  const Registered own("second of two", [](const StepView& shown) -> std::optional<Replacement> {
    if (shown.as<Times>() == nullptr || shown.as<Times>()->options().factor != 7) return std::nullopt;
    return Replacement{{{std::make_shared<TwoTimes>(1.0F, 3.5F), {shown.input(0)}}, {by(2), {ValueRef::made_by(0, 1)}}}};
  });
  const Plan plan = optimize(traced(), {.formats = false});
  EXPECT_EQ(labels(plan), "times two times_1:TwoTimes times_1 add");
  EXPECT_EQ(plan.values[static_cast<std::size_t>(plan.steps[2].outputs[1])].name, "times_1:TwoTimes.1");
  EXPECT_TRUE(verify_rewrites(traced()).at(0).ok());
}

TEST(RewriteRegistryTest, BodiesOfLoopsAreRewrittenCountedAndProven) {
  const Lambda model([](Value x) { return repeat(3, times(times(x)), [](Value v) { return times(times(v, {.factor = 0.5F})); }); });
  const auto traced = [&] { return trace(model, {{"x", {1, 1, 1, 3}}}); };
  float off = 1;
  const Registered own("two products as one", [&](const StepView& shown) {
    std::optional<Replacement> made = product(shown);
    const auto* first = made ? made->absorbed[0].as<Times>() : nullptr;
    if (first != nullptr && first->options().factor == 0.5F) made->steps[0].layer = by(off);
    return made;
  });
  Session net = compile(optimize(traced()), Device::reference());
  EXPECT_EQ(net.plan().steps.size(), 2U);
  EXPECT_EQ(loop_of(net.plan().steps[1])->body().steps.size(), 1U);
  EXPECT_EQ(applied_rewrites(net.plan()), (std::vector<AppliedRewrite>{{"two products as one", 2}}));
  EXPECT_TRUE(contains(plan_text(net.plan()), "\nrewrites: two products as one (2)\n"));
  net.input().copy_from(std::vector<float>{1, -2, 3});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{4, -8, 12}));
  EXPECT_EQ(verify_rewrites(traced()).at(0).times, 2);
  EXPECT_TRUE(verify_rewrites(traced()).at(0).ok());
  off = 1.001F;
  EXPECT_FALSE(verify_rewrites(traced()).at(0).ok());
  EXPECT_TRUE(applied_rewrites(optimize(traced(), {.without = {"two products as one"}})).empty());
  Plan faulty = traced();
  faulty.faults.incomplete.push_back("a parameter has fewer values than its shape takes");
  EXPECT_TRUE(applied_rewrites(optimize(std::move(faulty))).empty());
}

TEST(RewriteRegistryTest, ThreadsCompileWhileOthersRegister) {
  std::atomic<bool> stop = false;
  std::atomic<int> compiled = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const Plan plan = plan_of(thrice);
        EXPECT_TRUE(plan.steps.size() == 1 || plan.steps.size() == 3) << labels(plan);
        ++compiled;
      }
    });
  }
  for (int round = 0; round < 50 || compiled < 20; ++round) {
    const Registered own("two products as one", product);
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(RewriteRegistryTest, AnIncompletePlanIsLeftAlone) {
  const Registered own("two products as one", product);
  Plan plan = trace(Lambda(thrice), {{"x", {1, 2, 2, 2}}});
  plan.faults.incomplete.push_back("a parameter has fewer values than its shape takes");
  EXPECT_EQ(optimize(std::move(plan)).steps.size(), 3U);
}

}  // namespace
}  // namespace frieze::test

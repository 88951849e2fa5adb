// What outlives what: models, plans, sessions, ports and engines die in any order. AddressSanitizer runs these too.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <typeinfo>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/batch_norm2d/batch_norm2d.h>
#include <frieze/layers/channel_shortcut/channel_shortcut.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/gated_silu/gated_silu.h>
#include <frieze/layers/linear/linear.h>
#include <frieze/layers/linear_attention2d/linear_attention2d.h>
#include <frieze/layers/merge_phases/merge_phases.h>
#include <frieze/layers/pixel_shuffle/pixel_shuffle.h>
#include <frieze/layers/pool/pool.h>
#include <frieze/layers/rms_norm2d/rms_norm2d.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/softmax/softmax.h>
#include <frieze/layers/upsample/upsample.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct MortalNet : Module {
  Conv2d conv{2, 2, 3, {.padding = 1}};
  BatchNorm2d norm{2};
  std::unique_ptr<Layer> act = std::make_unique<SiLU>();
  MortalNet() {
    add("conv", conv), add("norm", norm), add("act", *act);
    init_random(*this, 1);
  }
  Value forward(Value x) const override { return x + (*act)(norm(conv(x))); }
};

const std::vector<InputSpec> kMortalInputs{{"x", {1, 2, 4, 5}}};

std::vector<float> answer(Session& net) {
  net.input().copy_from(ramp(net.input().spec().shape.elements()));
  net.run();
  return net.output().floats();
}

std::vector<float> right_answer(const std::vector<InputSpec>& inputs = kMortalInputs) {
  const MortalNet model;
  Session net = compile(model, inputs, Device::reference());
  return answer(net);
}

static_assert(!std::is_copy_constructible_v<MortalNet> && !std::is_move_constructible_v<MortalNet>, "children are registered by address");
static_assert(!std::is_copy_constructible_v<Conv2d> && !std::is_move_constructible_v<Conv2d>);
static_assert(!std::is_copy_constructible_v<ModuleList<Conv2d>> && !std::is_move_constructible_v<ModuleList<Conv2d>>);
static_assert(!std::is_copy_assignable_v<MortalNet> && !std::is_move_assignable_v<Conv2d>);
static_assert(!std::is_constructible_v<Engine, MortalNet, Device>, "the engine would refer to a dead temporary");
static_assert(std::is_copy_constructible_v<Session>, "a copy is another handle of the same session");

TEST(Lifetime, AModelMayBeATemporary) {
  Session net = compile(MortalNet{}, kMortalInputs, Device::reference());
  EXPECT_EQ(answer(net), right_answer());
  EXPECT_TRUE(verify(net).ok());
}

TEST(Lifetime, ASessionOutlivesItsModel) {
  auto model = std::make_unique<MortalNet>();
  Session fused = compile(*model, kMortalInputs, Device::reference());
  Session plain = compile(*model, kMortalInputs, Device::reference(), {.passes = {false, false, false}, .keep_values = true});
  model.reset();
  EXPECT_EQ(answer(fused), right_answer());
  (void)answer(plain);
  EXPECT_EQ(plain.value(plain.plan().steps[0].output()).floats().size(), 40U);
  (void)plain.tap("conv");
  plain.run();
  EXPECT_EQ(plain.tapped("conv").floats().size(), 40U);
  EXPECT_TRUE(verify(fused).ok());
}

TEST(Lifetime, APlanOutlivesItsModel) {
  auto model = std::make_unique<MortalNet>();
  Plan traced = trace(*model, kMortalInputs);
  const Plan optimized = optimize(traced);
  model.reset();
  EXPECT_NE(plan_text(traced).find("2->2 3x3"), std::string::npos);
  EXPECT_FALSE(plan_json(optimized).empty());
  Session late = compile(optimize(std::move(traced)), Device::reference());
  Session net = compile(optimized, Device::reference());
  EXPECT_EQ(answer(late), right_answer());
  EXPECT_EQ(answer(net), right_answer());
}

TEST(Lifetime, WhatIsWrittenIntoTheModelLaterDoesNotReachTheSession) {
  MortalNet model;
  Session before = compile(model, kMortalInputs, Device::reference(), {.passes = {.rewrite = false}});
  const std::vector<float> expected = answer(before);
  model.conv.parameters()[0]->values[0] += 1;
  init_random(model, 7);
  for (float& v : model.norm.parameters()[0]->values) v = -v;
  EXPECT_EQ(answer(before), expected);
  Session after = compile(model, kMortalInputs, Device::reference(), {.passes = {.rewrite = false}});
  EXPECT_NE(answer(after), expected);
}

TEST(Lifetime, APortOutlivesItsSession) {
  auto net = std::make_unique<Session>(compile(MortalNet{}, kMortalInputs, Device::reference()));
  (void)answer(*net);
  Port in = net->input(), out = net->output();
  net.reset();
  EXPECT_EQ(out.floats(), right_answer());
  EXPECT_EQ(in.name() + out.name(), "xy");
  in.copy_from(std::vector<float>(40, 0.5F));
  EXPECT_EQ(in.floats(), std::vector<float>(40, 0.5F));
  EXPECT_NE(out.view().data, nullptr);
  Port moved = std::move(out);
  EXPECT_THROW((void)out.floats(), OptionError);  // NOLINT: that is what is tested
  EXPECT_THROW((void)out.name(), OptionError);    // NOLINT
  EXPECT_THROW((void)out.spec(), OptionError);    // NOLINT
  EXPECT_EQ(moved.floats(), right_answer());
}

TEST(Lifetime, EveryMemberOfAMovedFromSessionThrows) {
  Session net = compile(MortalNet{}, kMortalInputs, Device::reference());
  Session moved = std::move(net);
  Session& gone = net;
  const std::vector<std::function<void()>> members{[&] { gone.run(); },
                                                   [&] { gone.launch(nullptr); },
                                                   [&] { gone.record(nullptr); },
                                                   [&] { gone.run_eager(); },
                                                   [&] { (void)gone.input("x"); },
                                                   [&] { (void)gone.output("y"); },
                                                   [&] { (void)gone.input(); },
                                                   [&] { (void)gone.output(); },
                                                   [&] { gone.bind("x", nullptr); },
                                                   [&] { (void)gone.plan(); },
                                                   [&] { (void)gone.memory_plan(); },
                                                   [&] { (void)gone.receipt(); },
                                                   [&] { (void)gone.options(); },
                                                   [&] { (void)gone.device(); },
                                                   [&] { (void)gone.value(0); },
                                                   [&] { (void)gone.tap("*"); },
                                                   [&] { gone.untap(); },
                                                   [&] { (void)gone.tapped_names(); },
                                                   [&] { (void)gone.tapped("conv"); },
                                                   [&] { gone.poison(); },
                                                   [&] { (void)gone.executor(); },
                                                   [&] { (void)verify(gone); }};
  for (std::size_t i = 0; i < members.size(); ++i) {
    EXPECT_EQ(message_of<OptionError>(members[i]), "this session was moved from") << i;
  }
  EXPECT_EQ(answer(moved), right_answer());
  net = std::move(moved);
  EXPECT_EQ(answer(net), right_answer()) << "a new session may take its place";
}

TEST(Lifetime, MovedFromDevicesAndEnginesThrow) {
  Device device = Device::reference();
  const Device other = std::move(device);
  EXPECT_THROW((void)device.name(), OptionError);                                // NOLINT
  EXPECT_THROW((void)device.is_cuda(), OptionError);                             // NOLINT
  EXPECT_THROW((void)compile(MortalNet{}, kMortalInputs, device), OptionError);  // NOLINT
  EXPECT_EQ(other.name(), "reference");
  Engine engine(std::make_shared<MortalNet>(), Device::reference());
  Engine moved = std::move(engine);
  EXPECT_THROW((void)engine.session(kMortalInputs), OptionError);  // NOLINT
  EXPECT_THROW((void)engine.size(), OptionError);                  // NOLINT
  EXPECT_THROW((void)engine.captures(), OptionError);              // NOLINT
  EXPECT_THROW((void)engine.arena_bytes(), OptionError);           // NOLINT
  EXPECT_EQ(moved.session(kMortalInputs).plan().inputs.size(), 1U);
}

TEST(Lifetime, AnEvictedSessionThatSomebodyHoldsKeepsWorking) {
  std::optional<Engine> engine(std::in_place, std::make_shared<MortalNet>(), Device::reference(), CompileOptions{}, 1);
  Session held = engine->session(kMortalInputs);
  const Port out = held.output();
  for (int n = 2; n < 5; ++n) {
    Session other = engine->session({{"x", {n, 2, 8, 9}}});
    (void)answer(other);
  }
  EXPECT_EQ(engine->size(), 1U);
  EXPECT_EQ(answer(held), right_answer());
  engine.reset();
  EXPECT_EQ(answer(held), right_answer());
  EXPECT_EQ(out.floats(), right_answer());
}

TEST(Lifetime, AReferenceToAnEvictedSessionSaysSoUntilItIsThereAgain) {
  Engine engine(std::make_shared<MortalNet>(), Device::reference(), CompileOptions{}, 1);
  Session& held = engine.session(kMortalInputs);
  EXPECT_EQ(answer(held), right_answer());
  for (int n = 2; n < 5; ++n) (void)engine.session({{"x", {n, 2, 8, 9}}});
  for (const auto& use :
       std::vector<std::function<void()>>{[&] { held.run(); }, [&] { (void)held.output(); }, [&] { (void)held.tap(); },
                                          [&] { held.untap(); }, [&] { (void)held.tapped_names(); }, [&] { (void)held.device(); },
                                          [&] { held.launch(nullptr); }, [&] { held.record(nullptr); }}) {
    EXPECT_TRUE(contains(message_of<OptionError>(use), "this session was evicted from its engine"));
  }
  EXPECT_EQ(&engine.session(kMortalInputs), &held);
  EXPECT_EQ(answer(held), right_answer());
  EXPECT_EQ(engine.captures(), 5U);

  const Session taken = std::move(held);  // the engine makes another one
  EXPECT_EQ(answer(engine.session(kMortalInputs)), right_answer());
  EXPECT_EQ(engine.captures(), 6U);
}

TEST(Lifetime, HandlesOfOneSessionShareItsTaps) {
  Engine engine(std::make_shared<MortalNet>(), Device::reference());
  Session one = engine.session(kMortalInputs), two = engine.session(kMortalInputs);
  (void)one.tap("*");
  EXPECT_EQ(two.tapped_names(), one.tapped_names());
  two.untap();
  EXPECT_TRUE(one.tapped_names().empty());
}

TEST(Lifetime, AnEngineOwnsItsModelOrSaysThatItIsGone) {
  auto shared = std::make_shared<MortalNet>();
  Engine owner(shared, Device::reference());
  shared.reset();
  Session net = owner.session(kMortalInputs);
  EXPECT_EQ(answer(net), right_answer());
  EXPECT_THROW(Engine(std::shared_ptr<Module>(), Device::reference()), OptionError);

  auto model = std::make_unique<MortalNet>();
  Engine engine(*model, Device::reference());
  Session first = engine.session(kMortalInputs);
  model.reset();
  EXPECT_EQ(answer(first), right_answer());
  Session again = engine.session(kMortalInputs);
  EXPECT_EQ(answer(again), right_answer());
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)engine.session({{"x", {2, 2, 4, 5}}}); }), "this engine's model is gone"));
}

// Objects in forward that live shorter than the trace, one after the other at one address.
TEST(Lifetime, LayersMayBeTemporariesOfForward) {
  const Lambda model([](Value x) {
    for (const int factor : {2, 3}) {
      const Upsample up(factor);
      x = up(x);
    }
    return PixelUnshuffle(6)(x);
  });
  Session net = compile(model, {{"x", {1, 1, 1, 2}}}, Device::reference());
  EXPECT_EQ(net.output().spec().shape, (Shape{1, 36, 1, 2}));
  EXPECT_EQ(answer(net)[35 * 2], 0.25F);
}

TEST(Lifetime, ALayerWithoutASharedCopyMustLive) {
  struct Model : Module {
    Times own{{.factor = 3}};
    Model() { add("own", own); }
    Value forward(Value x) const override { return own(x); }
  };
  auto model = std::make_unique<Model>();
  const Plan plan = trace(*model, {{"x", {2}}});
  Session net = compile(*model, {{"x", {2}}}, Device::reference());
  const Port out = net.output();
  EXPECT_EQ(answer(net), (std::vector<float>{0.75F, -1.5F}));
  model.reset();
  const std::string message = message_of<OptionError>([&] { net.run(); });
  EXPECT_TRUE(contains(message, "own (Times) died with its model")) << message;
  EXPECT_THROW((void)net.plan(), OptionError);
  EXPECT_THROW((void)verify(net), OptionError);
  EXPECT_THROW((void)out.floats(), OptionError);
  EXPECT_THROW((void)optimize(plan), OptionError);
  EXPECT_THROW((void)compile(plan, Device::reference()), OptionError);
  EXPECT_THROW((void)plan_text(plan), OptionError);
  EXPECT_THROW((void)plan_json(plan), OptionError);
}

TEST(Lifetime, EveryLayerHasASharedCopyOfItsOwnClass) {
  Conv2d conv(2, 4, 3, {.stride = 2, .groups = 2});
  init_random(conv, 3);
  std::vector<std::unique_ptr<Layer>> layers;
  const auto add = [&](auto... made) { (layers.push_back(std::move(made)), ...); };
  add(std::make_unique<ReLU>(), std::make_unique<SiLU>(), std::make_unique<GELU>(), std::make_unique<GELU>(true),
      std::make_unique<Sigmoid>(), std::make_unique<ActivationLayer>(Activation::relu), std::make_unique<BatchNorm2d>(3, 0.5),
      std::make_unique<AveragingShortcut>(4, 2), std::make_unique<DuplicatingShortcut>(4, 2), std::make_unique<Concat>(),
      std::make_unique<Add>(), std::make_unique<Mul>(), std::make_unique<Scale>(2.0F), std::make_unique<GatedSiLU>(),
      std::make_unique<Linear>(2, 3, LinearOptions{.bias = false}), std::make_unique<LinearAttention2d>(8, 0.25),
      std::make_unique<MergePhases>(), std::make_unique<MergePhases>(3), std::make_unique<PixelShuffle>(2),
      std::make_unique<PixelUnshuffle>(3), std::make_unique<GlobalAvgPool>(true),
      std::make_unique<RMSNorm2d>(5, RMSNorm2dOptions{.eps = 0.5, .bias = true}), std::make_unique<Slice>(1, 3),
      std::make_unique<Softmax>(1), std::make_unique<Upsample>(2));
  for (const auto& layer : layers) {
    const std::shared_ptr<const Layer> copy = layer->shared_copy();
    ASSERT_NE(copy, nullptr) << layer->type_name();
    const Layer &made = *copy, &original = *layer;
    EXPECT_TRUE(typeid(made) == typeid(original)) << layer->type_name();
    EXPECT_EQ(copy->describe(), layer->describe());
    EXPECT_EQ(copy->type_name(), layer->type_name());
  }
  const std::shared_ptr<const Layer> copy = conv.shared_copy();
  EXPECT_EQ(copy->describe(), conv.describe());
  EXPECT_EQ(copy->parameters()[0]->values.get().data(), std::as_const(conv).weight().values.get().data()) << "shared, not copied";
}

TEST(Lifetime, AChildThatDiedFirstIsNamed) {
  struct Holder : Module {
    using Module::add;
  };
  Holder holder;
  {
    Conv2d conv(1, 1, 1);
    holder.add("conv", conv);
  }
  EXPECT_TRUE(contains(message_of<OptionError>([&] { init_random(holder, 1); }), "conv: was destroyed before the module"));
  Conv2d conv(1, 1, 1);
  {
    Holder parent;
    parent.add("conv", conv);
    EXPECT_EQ(conv.path(), "conv");
  }
  EXPECT_EQ(conv.parent(), nullptr);
  init_random(conv, 1);
  Session net = compile(conv, {{"x", {1, 1, 1, 1}}}, Device::reference());
  net.run();
}

}  // namespace
}  // namespace frieze::test

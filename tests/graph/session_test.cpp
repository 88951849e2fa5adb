#include <gtest/gtest.h>

#include <cmath>

#include <frieze/graph/session.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

const Lambda& two_ports() {
  static const Lambda model([](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"sum", in[0].value + in[1].value}, {"twice", times(in[0].value)}};
  });
  return model;
}

Session two_port_session() { return compile(two_ports(), {{"a", {1, 2, 1, 2}}, {"b", {1, 2, 1, 2}}}, Device::reference()); }

const Lambda& chain() {
  static const Lambda model([](Value x) { return times(times(times(x), {.factor = 3}), {.factor = -1}); });
  return model;
}

TEST(SessionTest, RunsAModelOnTheCpu) {
  Session net = compile(chain(), {{"x", {1, 1, 2, 2}}}, Device::reference());
  net.input().copy_from(std::vector<float>{1, 2, 3, -4});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{-6, -12, -18, 24}));
  net.input("x").copy_from(std::vector<float>{0, 1, 0, 1});
  net.launch(nullptr);
  EXPECT_EQ(net.output("y").floats(), (std::vector<float>{0, -6, 0, -6}));
  net.run_eager();
  EXPECT_EQ(net.output("y").floats(), (std::vector<float>{0, -6, 0, -6}));
}

TEST(SessionTest, TellsThatItsStepsAreReady) {
  std::vector<std::pair<int, int>> told;
  CompileOptions options;
  options.on_prepared = [&](int ready, int steps) { told.emplace_back(ready, steps); };
  const Session net = compile(chain(), {{"x", {1, 1, 2, 2}}}, Device::reference(), options);
  const int steps = static_cast<int>(net.plan().steps.size());
  EXPECT_EQ(told, (std::vector<std::pair<int, int>>{{steps, steps}}));
}

TEST(SessionTest, PortsGoByName) {
  Session net = two_port_session();
  net.input("a").copy_from(std::vector<float>{1, 2, 3, 4});
  net.input("b").copy_from(std::vector<float>{10, 20, 30, 40});
  net.run();
  EXPECT_EQ(net.output("sum").floats(), (std::vector<float>{11, 22, 33, 44}));
  EXPECT_EQ(net.output("twice").floats(), (std::vector<float>{2, 4, 6, 8}));
  EXPECT_EQ(net.input("b").name(), "b");
  EXPECT_EQ(net.output("sum").spec().shape, Shape({1, 2, 1, 2}));
}

TEST(SessionTest, UnknownNamesListTheKnownOnes) {
  Session net = two_port_session();
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)net.input("image"); }), "no input named 'image': the model has a, b"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)net.output("y"); }), "no output named 'y': the model has sum, twice"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)net.input("sum"); }), "no input named 'sum'"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { net.bind("y", nullptr); }), "a, b, sum, twice"));
}

TEST(SessionTest, TheOnlyPortNeedsNoNameButOneOfSeveralDoes) {
  Session net = two_port_session();
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)net.input(); }), "2 inputs"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)net.output(); }), "2 outputs"));
}

TEST(SessionTest, RefusesValuesThatDoNotFitThePort) {
  Session net = two_port_session();
  const std::string count = message_of<ShapeError>([&] { net.input("a").copy_from(std::vector<float>(5)); });
  EXPECT_TRUE(contains(count, "port 'a': expected 4 values for [1,2,1,2], got 5"));
  const HostTensor other({{2, 1, 1, 2}, DType::f32}, std::vector<float>(4));
  const std::string shape = message_of<ShapeError>([&] { net.input("b").copy_from(other); });
  EXPECT_TRUE(contains(shape, "port 'b'"));
  EXPECT_TRUE(contains(shape, "[2,1,1,2]"));
}

TEST(SessionTest, APortTakesAnyTypeAndFormatAndRoundsOnce) {
  Session net = compile(chain(), {{"x", {1, 2, 1, 2}, DType::bf16, Format::nhwc}}, Device::reference());
  const std::vector<float> values = {1.001F, 2, 3, 4};
  net.input().copy_from(HostTensor({{1, 2, 1, 2}, DType::f32, Format::nchw}, values));
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{-6, -12, -18, -24})) << "row-major N,C,H,W whatever the format is";
  const HostTensor y = net.output().to_host();
  EXPECT_EQ(y.spec(), (TensorSpec{{1, 2, 1, 2}, DType::bf16, Format::nhwc}));
  EXPECT_EQ(load_element(DType::bf16, y.data(), 1), -18) << "in memory, channels come first";
}

TEST(SessionTest, TheModelRefusesBadShapesBeforeAnythingRuns) {
  EXPECT_THROW((void)compile(two_ports(), {{"a", {1, 2, 1, 2}}, {"b", {1, 3, 1, 2}}}, Device::reference()), ShapeError);
  EXPECT_THROW((void)compile(two_ports(), {{"a", {2}, DType::f32}, {"b", {2}, DType::f16}}, Device::reference()), DTypeError);
}

TEST(SessionTest, BindReadsAndWritesTheCallersMemory) {
  Session net = compile(chain(), {{"x", {4}}}, Device::reference());
  net.input().copy_from(std::vector<float>{1, 1, 1, 1});
  net.run();
  alignas(16) float mine[4] = {1, 2, 3, 4}, result[4] = {};
  net.bind("x", mine);
  net.bind("y", result);
  EXPECT_EQ(net.input().view().data, mine);
  net.run();
  EXPECT_EQ(result[3], -24);
  mine[3] = 5;
  net.run();
  EXPECT_EQ(result[3], -30) << "the memory itself, not a copy of it";

  net.bind("x", nullptr);
  net.bind("y", nullptr);
  result[3] = 7;
  net.run();
  EXPECT_EQ(result[3], 7) << "no longer ours to write";
  EXPECT_EQ(net.output().floats(), (std::vector<float>{-6, -6, -6, -6})) << "the session's own input, as it was";
}

TEST(SessionTest, BindRefusesMisalignedMemory) {
  Session net = compile(chain(), {{"x", {4}}}, Device::reference());
  alignas(16) float mine[8] = {};
  EXPECT_TRUE(contains(message_of<OptionError>([&] { net.bind("x", mine + 1); }), "16-byte aligned"));
}

TEST(SessionTest, ValuesInBetweenAreReadableOnlyIfKept) {
  const std::vector<InputSpec> inputs = {{"x", {2}}};
  Session lean = compile(chain(), inputs, Device::reference());
  const int between = lean.plan().steps[0].output();
  EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)lean.value(between); }), "keep_values"));
  EXPECT_EQ(lean.value(lean.plan().input("x")).floats().size(), 2U) << "ports can always be read";
  EXPECT_THROW((void)lean.value(-1), OptionError);
  EXPECT_THROW((void)lean.value(99), OptionError);

  Session kept = compile(chain(), inputs, Device::reference(), {.keep_values = true});
  kept.input().copy_from(std::vector<float>{1, 2});
  kept.run();
  EXPECT_EQ(kept.value(kept.plan().steps[0].output()).floats(), (std::vector<float>{2, 4}));
  EXPECT_EQ(kept.value(kept.plan().steps[1].output()).floats(), (std::vector<float>{6, 12}));
}

TEST(SessionTest, PoisonMakesEveryComputedValueNanAndARunBringsThemBack) {
  Session net = compile(chain(), {{"x", {2}}}, Device::reference(), {.keep_values = true});
  net.input().copy_from(std::vector<float>{1, 2});
  net.run();
  net.poison();
  for (const Step& step : net.plan().steps) {
    for (const float v : net.value(step.output()).floats()) EXPECT_TRUE(std::isnan(v)) << step.path;
  }
  EXPECT_EQ(net.input().floats(), (std::vector<float>{1, 2})) << "inputs are the user's";
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{-6, -12}));
}

TEST(SessionTest, AMovedSessionKeepsItsPortsAndMemory) {
  Session first = compile(chain(), {{"x", {1}}}, Device::reference());
  first.input().copy_from(std::vector<float>{2});
  Session second = std::move(first);
  second.run();
  EXPECT_EQ(second.output().floats()[0], -12);
  second = compile(chain(), {{"x", {2}}}, Device::reference());
  EXPECT_EQ(second.output().floats().size(), 2U);
}

TEST(SessionTest, ACpuSessionHasNoStreamToRecordInto) {
  Session net = two_port_session();
  for (const cudaStream_t stream : {cudaStream_t{nullptr}, reinterpret_cast<cudaStream_t>(&net)}) {
    EXPECT_EQ(message_of<OptionError>([&] { net.record(stream); }),
              "record: this session runs on the CPU, where there is no stream to record into; use run()");
  }
  Engine engine(chain(), Device::reference());
  EXPECT_THROW(engine.session({{"x", {1, 1, 2, 2}}}).record(nullptr), OptionError);
}

TEST(SessionTest, AnOutputMayBeAnInput) {
  const Lambda identity([](Value x) { return x; });
  Session net = compile(identity, {{"x", {3}}}, Device::reference());
  net.input().copy_from(std::vector<float>{1, 2, 3});
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{1, 2, 3}));
  EXPECT_NE(net.input().view().data, net.output().view().data);
}

TEST(DeviceTest, ParsesNames) {
  EXPECT_FALSE(Device::parse("cpu").is_cuda());
  EXPECT_EQ(Device::parse("cpu").name(), "cpu");
  for (const char* text : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "CPU"}) {
    EXPECT_TRUE(contains(message_of<OptionError>([&] { (void)Device::parse(text); }), "expected cpu, reference, cuda or cuda:N")) << text;
  }
}

TEST(DeviceTest, AGpuThatIsNotThereIsACudaError) {
  EXPECT_THROW((void)Device::cuda(Device::cuda_count()), CudaError);
  EXPECT_THROW((void)Device::parse("cuda:4095"), CudaError);
}

TEST(EngineTest, TheKeyIsExact) {
  Engine engine(chain(), Device::reference());
  const InputSpec base{"x", {1, 2, 2, 2}};
  const Executor* first = &engine.session({base}).executor();
  EXPECT_EQ(&engine.session({base}).executor(), first);
  EXPECT_EQ(engine.captures(), 1U);
  InputSpec shape = base, dtype = base, format = base, name = base;
  shape.shape = {2, 1, 2, 2};
  dtype.dtype = DType::f16;
  format.format = Format::nhwc;
  name.name = "z";
  for (const InputSpec& other : {shape, dtype, format, name}) EXPECT_NE(&engine.session({other}).executor(), first);
  EXPECT_EQ(engine.captures(), 5U);
  EXPECT_EQ(engine.size(), 5U);
  EXPECT_EQ(&engine.session({base}).executor(), first);
}

TEST(EngineTest, TheLeastRecentlyUsedSessionGoesFirst) {
  Engine engine(chain(), Device::reference(), {}, 2);
  const auto of = [&](std::int64_t n) { (void)engine.session({{"x", {n}}}); };
  of(1);
  of(2);
  of(1);  // 2 is now the oldest
  of(3);
  EXPECT_EQ(engine.size(), 2U);
  EXPECT_EQ(engine.captures(), 3U);
  of(1);
  EXPECT_EQ(engine.captures(), 3U) << "1 was used after 2 and must still be there";
  of(2);
  EXPECT_EQ(engine.captures(), 4U) << "2 was evicted";
  of(3);
  EXPECT_EQ(engine.captures(), 5U) << "3 went when 2 came back";
}

TEST(EngineTest, AnEngineOfOneWorks) {
  Engine engine(chain(), Device::reference(), {}, 1);
  for (const std::int64_t n : {4, 2, 4}) {
    Session net = engine.session({{"x", {n}}});
    net.input().copy_from(std::vector<float>(static_cast<std::size_t>(n), 1));
    net.run();
    EXPECT_EQ(net.output().floats(), std::vector<float>(static_cast<std::size_t>(n), -6));
    EXPECT_EQ(engine.size(), 1U);
  }
  EXPECT_EQ(engine.captures(), 3U);
  EXPECT_THROW(Engine(chain(), Device::reference(), {}, 0), OptionError);
}

TEST(EngineTest, ARefusedShapeEvictsNothing) {
  Engine engine(two_ports(), Device::reference(), {}, 1);
  const Executor* good = &engine.session({{"a", {2}}, {"b", {2}}}).executor();
  EXPECT_THROW((void)engine.session({{"a", {2}}, {"b", {3}}}), ShapeError);
  EXPECT_EQ(&engine.session({{"a", {2}}, {"b", {2}}}).executor(), good);
  EXPECT_EQ(engine.captures(), 1U);
}

TEST(EngineTest, ShapesShareOneArenaAndDoNotDisturbEachOther) {
  Engine engine(chain(), Device::reference());
  Session small = engine.session({{"x", {16}}});
  const std::int64_t before = engine.arena_bytes();
  Session large = engine.session({{"x", {4096}}});
  EXPECT_GT(engine.arena_bytes(), before);
  EXPECT_GE(engine.arena_bytes(), large.memory_plan().arena_bytes);
  EXPECT_LT(engine.arena_bytes(), large.memory_plan().arena_bytes + small.memory_plan().arena_bytes) << "sized by the largest, not the sum";
  small.input().copy_from(std::vector<float>(16, 1));
  large.input().copy_from(std::vector<float>(4096, 2));
  for (int round = 0; round < 3; ++round) {
    small.run();
    large.run();
    EXPECT_EQ(small.output().floats(), std::vector<float>(16, -6));
    EXPECT_EQ(large.output().floats(), std::vector<float>(4096, -12));
  }
}

}  // namespace
}  // namespace frieze::test

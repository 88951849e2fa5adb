/// CUDA failing at every point in turn: each ends in a typed error, nothing leaks, and what was there before works on.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <frieze/core/cuda/fault.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include "graph/device_layers.h"

namespace frieze::test {
namespace {

// The hook has no state of its own: points are counted here, on the one thread of these tests.
int countdown = -1;
std::string hit_point;
bool fail_at_countdown(const char* point) {
  if (countdown < 0 || countdown-- > 0) return false;
  hit_point = point;
  return true;
}

class FaultsGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    register_test_kernels();
    init_random(model_, 1);
  }
  void TearDown() override { cuda::set_fault_hook(nullptr); }

  // Calls body() with point 0 failing, then 1, … until it gets through; afterwards(point) in between. Gives how often each failed.
  template <class Body, class Afterwards>
  std::map<std::string, int> walk(Body&& body, Afterwards&& afterwards) {
    std::map<std::string, int> points;
    for (int which = 0; which < 100000 && !HasFailure(); ++which) {
      countdown = which;
      hit_point.clear();
      cuda::set_fault_hook(&fail_at_countdown);
      std::string error = "no error";
      try {
        body();
      } catch (const Error& e) {
        error = e.what();
      }
      cuda::set_fault_hook(nullptr);
      if (hit_point.empty()) {
        EXPECT_EQ(error, "no error");
        break;
      }
      ++points[hit_point];
      EXPECT_NE(error, "no error") << "point " << which << ", " << hit_point << ", failed and nobody said so";
      EXPECT_EQ(error.find('\n'), std::string::npos) << error;
      EXPECT_EQ(cudaGetLastError(), cudaSuccess) << hit_point;
      afterwards(std::to_string(which) + ", " + hit_point + ": " + error);
    }
    for (const auto& [name, count] : points) std::printf("  %s failed %d times\n", name.c_str(), count);
    return points;
  }

  static std::int64_t used() { return Device::cuda().backend().used_memory(); }

  Quickstart model_;
  const std::vector<InputSpec> input_{{"image", {1, 3, 24, 16}, DType::f16}};
  const std::vector<float> x_ = random_values(3 * 24 * 16, 3, Fill::normal, DType::f16, 3);
};

TEST_F(FaultsGpuTest, ACompileThatFailsAnywhereLeaksNothing) {
  const auto compile_it = [&] {
    Session net = compile(model_, input_, Device::cuda(), {.tune = false});
    net.input().copy_from(x_);
    net.run();
  };
  for (int i = 0; i < 3; ++i) compile_it();
  Quickstart other;
  init_random(other, 2);
  int allocations[2] = {};
  // Beside a session of other weights, and beside one that has those of the session that fails.
  for (const bool shared : {false, true}) {
    Session witness = compile(shared ? model_ : other, input_, Device::cuda(), {.tune = false});
    witness.input().copy_from(x_);
    witness.run();
    const std::vector<float> right = witness.output().floats();
    const std::int64_t before = used();
    const auto points = walk(compile_it, [&](const std::string& where) {
      witness.poison();
      witness.run();
      EXPECT_EQ(witness.output().floats(), right) << where;
    });
    allocations[shared ? 1 : 0] = points.at("cudaMalloc");
    for (const char* name :
         {"cudaStreamCreateWithFlags", "kernel", "cudaGraphCreate", "cudaGraphAddNode", "cudaGraphInstantiate", "cudaGraphLaunch"}) {
      EXPECT_EQ(points.count(name), 1U) << name;
    }
    // The driver keeps memory for graphs in steps of 2 MiB.
    EXPECT_LE(used() - before, 4 << 20);
    compile_it();
  }
  EXPECT_GT(allocations[0], 3);
  EXPECT_LT(allocations[1], allocations[0]) << "weights are not allocated again";
}

TEST_F(FaultsGpuTest, ACompileWithACaptureThatFailsAnywhereLeaksNothing) {
  register_test_kernels();
  const Times model{{.factor = 2, .workspace = true}};  // not of nodes alone: it is captured
  const auto compile_it = [&] { compile(model, input_, Device::cuda(), {.tune = false}).run(); };
  for (int i = 0; i < 3; ++i) compile_it();
  const std::int64_t before = used();
  const auto points = walk(compile_it, [](const std::string&) {});
  EXPECT_EQ(points.count("cudaStreamBeginCapture"), 1U);
  EXPECT_LE(used() - before, 4 << 20);
  compile_it();
}

TEST_F(FaultsGpuTest, ARunThatFailsAnywhereLeavesTheSessionUsable) {
  Session net = compile(model_, input_, Device::cuda(), {.tune = false});
  net.input().copy_from(x_);
  net.run();
  const std::vector<float> right = net.output().floats();
  const auto everything = [&] {
    net.input().copy_from(x_);
    net.run();
    net.run_eager();
    (void)net.output().floats();
  };
  const auto points = walk(everything, [&](const std::string& where) {
    net.input().copy_from(x_);
    net.poison();
    net.run();
    EXPECT_EQ(net.output().floats(), right) << where;
  });
  for (const char* name : {"cudaGraphLaunch", "cudaMemcpyAsync", "kernel"}) EXPECT_GE(points.count(name), 1U) << name;
}

TEST_F(FaultsGpuTest, TapsThatFailLeaveTheOnesThatWere) {
  Session net = compile(model_, input_, Device::cuda(), {.tune = false});
  net.input().copy_from(x_);
  const std::string first = net.plan().steps.front().label();
  net.tap(first);
  net.run();
  const std::vector<float> right = net.tapped(first).floats();
  (void)walk(
      [&] {
        net.tap("*");
        net.untap();
        net.tap(first);
      },
      [&](const std::string& where) {
        net.untap();
        net.tap(first);
        net.poison();
        net.run();
        EXPECT_EQ(net.tapped(first).floats(), right) << where;
      });
}

TEST_F(FaultsGpuTest, AnEngineThatCannotGrowItsArenaGivesWayOrSaysSo) {
  Engine engine(model_, Device::cuda(), {.tune = false}, 3);
  const auto run = [&](const std::vector<InputSpec>& input, const std::vector<float>& x) {
    Session net = engine.session(input);
    net.input().copy_from(x);
    net.poison();
    net.run();
    return net.output().floats();
  };
  const std::vector<float> right = run(input_, x_);
  const std::vector<InputSpec> large{{"image", {1, 3, 640, 640}, DType::f16}};
  // Out of memory may end well here: the engine evicts and tries again. So only what comes after is judged.
  int points = 0;
  for (int which = 0; which < 10000; ++which, ++points) {
    Engine fresh(model_, Device::cuda(), {.tune = false}, 3);
    countdown = which;
    hit_point.clear();
    cuda::set_fault_hook(&fail_at_countdown);
    try {
      (void)fresh.session(input_);
      (void)fresh.session(large);
    } catch (const Error&) {
    }
    cuda::set_fault_hook(nullptr);
    if (hit_point.empty()) break;
    Session net = fresh.session(input_);
    net.input().copy_from(x_);
    net.poison();
    net.run();
    ASSERT_EQ(net.output().floats(), right) << which << ", " << hit_point;
  }
  EXPECT_GT(points, 10);
  EXPECT_EQ(run(input_, x_), right);
}

TEST_F(FaultsGpuTest, ABindThatFailsKeepsTheOldAddressOrSaysThatTheSessionIsDead) {
  const cuda::DeviceBuffer other(x_.size() * 2);
  Session net = compile(model_, input_, Device::cuda(), {.tune = false});
  net.tap();
  net.input().copy_from(x_);
  net.run();
  const std::vector<float> right = net.output().floats();
  (void)walk(
      [&] {
        net.bind("image", other.data());
        net.bind("image", nullptr);
      },
      [&](const std::string& where) {
        net.bind("image", nullptr);
        net.poison();
        net.run();
        EXPECT_EQ(net.output().floats(), right) << where;
      });
}

// A kernel that traps takes the whole context with it, so this happens in a process of its own.
void lose_the_device() {
  struct Model : Module {
    Times before;
    Faulty bad{Fault::traps_on_nan};
    Model() {
      add("before", before);
      add("bad", bad);
    }
    Value forward(Value x) const override { return bad(before(x)); }
  } model;
  int reported = 0;
  {
    Session net = compile(model, {{"x", {1, 1, 1, 4}}}, Device::cuda()), other = compile(model, {{"x", {1, 1, 1, 4}}}, Device::cuda());
    net.input().copy_from(std::vector<float>{std::nanf(""), 1, 2, 3});
    const auto attempt = [&](auto&& body) {
      try {
        body();
      } catch (const CudaError&) {
        ++reported;
      }
    };
    attempt([&] { net.run(); });
    attempt([&] { net.run(); });
    attempt([&] { other.run(); });
    attempt([&] { (void)net.output().floats(); });
    attempt([&] { (void)compile(model, {{"x", {1, 1, 1, 4}}}, Device::cuda()); });
  }  // no destructor throws
  std::exit(reported == 5 ? 0 : 1);
}

TEST_F(FaultsGpuTest, ALostDeviceIsReportedByEveryCallAndEndsNothing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(lose_the_device(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(FaultsGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif

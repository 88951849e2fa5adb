// What compiling, running and destroying sessions warns of goes to CompileOptions::on_warning, and to nobody's stderr.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include "support/temp_folder.h"

namespace frieze::test {
namespace {

class WarningsGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FRIEZE_NEEDS_GPU();
    init_random(model_, 1);
    // A file that cannot be used is what a compile warns of, once for each file.
    std::ofstream(folder_.file("tuning.json")) << "no JSON";
  }
  CompileOptions quiet() const {
    CompileOptions o;
    o.tuning_cache = folder_.file("tuning.json");
    return o;
  }
  CompileOptions options() {
    CompileOptions o = quiet();
    o.on_warning = [this](std::string_view text) { said_.emplace_back(text); };
    return o;
  }
  Session make(const CompileOptions& o) { return compile(model_, {{"x", {1, 3, 17, 19}, DType::f16}}, Device::cuda(), o); }

  TempFolder folder_;
  Quickstart model_;
  std::vector<std::string> said_;
};

TEST_F(WarningsGpuTest, OfACompileGoToTheHook) {
  ::testing::internal::CaptureStderr();
  {
    Session net = make(options());
    net.run();
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  ASSERT_FALSE(said_.empty());
  EXPECT_NE(said_[0].find("tuning.json"), std::string::npos) << said_[0];
}

TEST_F(WarningsGpuTest, GoToStderrWithoutAHook) {
  ::testing::internal::CaptureStderr();
  (void)make(quiet());
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("frieze: warning: tuning cache"), std::string::npos);
}

TEST_F(WarningsGpuTest, OfAHookThatThrowsDoNoHarm) {
  CompileOptions o = quiet();
  int calls = 0;
  o.on_warning = [&](std::string_view) {
    ++calls;
    throw std::runtime_error("of the hook");
  };
  Session net = make(o);
  net.run();
  EXPECT_GT(calls, 0);
}

// Each thread's sessions have their own hook; calls take turns, so that one vector may serve them all.
TEST_F(WarningsGpuTest, OfManyThreadsComeOneAtATime) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([this] { make(options()).run(); });
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(said_.empty());
}

}  // namespace
}  // namespace frieze::test

#else  // without CUDA

TEST(WarningsGpuTest, NeedsCuda) { FRIEZE_NEEDS_GPU(); }

#endif

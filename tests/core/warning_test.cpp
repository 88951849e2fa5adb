// Warnings go to the hook of the thread's scope, one at a time, and to stderr where there is none.
#include <frieze/core/warning.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <frieze/core/parallel.h>
#include <frieze/core/tuning_cache.h>

#include "support/temp_folder.h"

namespace frieze {
namespace {

std::string stderr_of(const std::function<void()>& action) {
  ::testing::internal::CaptureStderr();
  action();
  return ::testing::internal::GetCapturedStderr();
}

TEST(WarningTest, GoesToStderrWithoutAHook) {
  EXPECT_EQ(stderr_of([] { warn("a \"thing\" %s"); }), "frieze: warning: a \"thing\" %s\n");
  const WarningHook none;
  EXPECT_EQ(stderr_of([&] {
              const WarningScope scope(&none);
              warn("none");
            }),
            "frieze: warning: none\n");
}

TEST(WarningTest, GoesToTheInnermostHookOfTheThread) {
  std::vector<std::string> outer, inner;
  const WarningHook to_outer = [&](std::string_view text) { outer.emplace_back(text); };
  const WarningHook to_inner = [&](std::string_view text) { inner.emplace_back(text); };
  const std::string said = stderr_of([&] {
    const WarningScope scope(&to_outer);
    warn("1");
    {
      const WarningScope deeper(&to_inner);
      warn("2");
      std::thread([] { warn("another thread's"); }).join();
    }
    warn("3");
  });
  EXPECT_EQ(outer, (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(inner, std::vector<std::string>{"2"});
  EXPECT_EQ(said, "frieze: warning: another thread's\n");
}

TEST(WarningTest, ThreadsOfTheLibraryKeepTheHookAndNoTwoCallItAtOnce) {
  std::atomic<int> inside{0}, most{0};
  int calls = 0;  // no atomic: the calls take turns
  const WarningHook hook = [&](std::string_view) {
    most = std::max(most.load(), ++inside);
    ++calls;
    --inside;
  };
  const std::string said = stderr_of([&] {
    const WarningScope scope(&hook);
    parallel_for(1000, [](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) warn("w");
    });
  });
  EXPECT_EQ(calls, 1000);
  EXPECT_EQ(most, 1);
  EXPECT_EQ(said, "");
}

TEST(WarningTest, AHookMayThrowAndMayWarn) {
  int calls = 0;
  const WarningHook hook = [&](std::string_view) {
    if (++calls < 3) warn("again");
    throw std::runtime_error("of the hook");
  };
  const WarningScope scope(&hook);
  warn("first");
  EXPECT_EQ(calls, 3);
}

// The cache warns when its lock is free again.
TEST(WarningTest, AHookMayUseTheTuningCacheThatWarns) {
  test::TempFolder folder;
  std::ofstream(folder.file("tuning.json")) << "no JSON";
  TuningCache cache(folder.file("tuning.json"));
  std::vector<std::string> texts;
  const WarningHook hook = [&](std::string_view text) {
    texts.emplace_back(text);
    cache.store("gpu", "key", "value");
  };
  const WarningScope scope(&hook);
  EXPECT_EQ(cache.find("gpu", "key"), std::nullopt);
  ASSERT_EQ(texts.size(), 1U);
  EXPECT_EQ(texts[0].rfind("tuning cache ", 0), 0U) << texts[0];
  EXPECT_EQ(cache.find("gpu", "key"), "value");
}

}  // namespace
}  // namespace frieze

#include <frieze/core/parallel.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

// Sets FRIEZE_THREADS for one test.
class Threads {
 public:
  explicit Threads(const char* value) {
    if (const char* before = std::getenv("FRIEZE_THREADS")) before_ = before;
    setenv("FRIEZE_THREADS", value, 1);
  }
  ~Threads() { before_ ? setenv("FRIEZE_THREADS", before_->c_str(), 1) : unsetenv("FRIEZE_THREADS"); }

 private:
  std::optional<std::string> before_;
};

TEST(ParallelFor, VisitsEveryIndexOnce) {
  for (const char* threads : {"1", "2", "7"}) {
    const Threads scope(threads);
    for (const std::int64_t count : {0, 1, 2, 5, 64, 1000}) {
      for (const std::int64_t grain : {1, 3, 2000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(
            count,
            [&](std::int64_t first, std::int64_t last) {
              ASSERT_LT(first, last);
              for (std::int64_t i = first; i < last; ++i) ++visits[static_cast<std::size_t>(i)];
            },
            grain);
        for (const auto& v : visits) EXPECT_EQ(v.load(), 1) << threads << " threads, count " << count << ", grain " << grain;
      }
    }
  }
}

TEST(ParallelFor, RethrowsTheBodysException) {
  const Threads scope("4");
  EXPECT_THROW(parallel_for(100,
                            [](std::int64_t first, std::int64_t last) {
                              if (first <= 50 && 50 < last) throw ShapeError("from the body");
                            }),
               ShapeError);
  std::atomic<int> visited{0};  // and the next loop runs as if nothing had happened
  parallel_for(10, [&](std::int64_t first, std::int64_t last) { visited += static_cast<int>(last - first); });
  EXPECT_EQ(visited.load(), 10);
}

TEST(ParallelFor, NestedCallsRunSerially) {
  const Threads scope("3");
  std::atomic<int> calls{0}, visited{0};
  parallel_for(6, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      parallel_for(50, [&](std::int64_t a, std::int64_t b) {
        ++calls;
        visited += static_cast<int>(b - a);
      });
    }
  });
  EXPECT_EQ(calls.load(), 6);
  EXPECT_EQ(visited.load(), 300);
}

TEST(ThreadCount, TakesTheEnvironmentStrictly) {
  {
    const Threads scope("5");
    EXPECT_EQ(thread_count(), 5);
  }
  for (const char* bad : {"0", "-1", "two", "", "4x", "1025", "99999999999999999999"}) {
    const Threads scope(bad);
    EXPECT_THROW((void)thread_count(), OptionError) << "'" << bad << "'";
  }
}

}  // namespace
}  // namespace frieze

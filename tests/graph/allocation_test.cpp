#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include <frieze/graph/session.h>

#include "graph/allocation_hooks.h"
#include "graph/test_layers.h"

namespace frieze::test {
namespace {

const void* volatile sink;  // or the compiler may leave out what nobody looks at

TEST(AllocationCounterTest, SeesEveryKindOfAllocation) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer has its own operator new";
  const AllocationCounter counter;
  EXPECT_EQ(counter.count(), 0);
  const auto one = std::make_unique<int>(1);
  sink = one.get();
  EXPECT_EQ(counter.count(), 1);
  const std::vector<double> many(100);
  sink = many.data();
  EXPECT_EQ(counter.count(), 2);
  struct alignas(64) Wide {
    char bytes[64];
  };
  const auto wide = std::make_unique<Wide>();
  sink = wide.get();
  EXPECT_EQ(counter.count(), 3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide.get()) % 64, 0U);
  const std::unique_ptr<int[]> array(new int[3]);
  sink = array.get();
  EXPECT_EQ(counter.count(), 4);
}

}  // namespace
}  // namespace frieze::test

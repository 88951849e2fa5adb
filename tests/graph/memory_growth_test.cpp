#include <gtest/gtest.h>

#include <frieze/graph/memory_growth.h>

namespace frieze::test {
namespace {

TEST(MemoryGrowthTest, ALeakGrowsEachTime) {
  std::int64_t used = 1000;
  int times = 0;
  const auto leak = [&] {
    used += 8;
    ++times;
    return true;
  };
  EXPECT_EQ(memory_growth([&] { return used; }, leak, 5), 8);
  EXPECT_EQ(times, 5);
}

TEST(MemoryGrowthTest, AnotherProgramGrowsForAWhile) {
  std::int64_t used = 1000;
  int times = 0;
  const auto work = [&] {
    if (++times < 4) used += 64;
    return true;
  };
  EXPECT_EQ(memory_growth([&] { return used; }, work), 0);
  EXPECT_EQ(times, 4);
}

TEST(MemoryGrowthTest, WhatOthersGiveBackIsNoGrowth) {
  std::int64_t used = 1000;
  EXPECT_EQ(memory_growth([&] { return used; }, [&] { return used -= 64, true; }), 0);
}

TEST(MemoryGrowthTest, WorkThatFailedIsNotDoneAgain) {
  std::int64_t used = 1000;
  int times = 0;
  const auto work = [&] {
    used += 8;
    return ++times < 2;
  };
  EXPECT_EQ(memory_growth([&] { return used; }, work), 8);
  EXPECT_EQ(times, 2);
}

}  // namespace
}  // namespace frieze::test

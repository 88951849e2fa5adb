// run_batch(): which files are worked on together, and what a failure costs. What a folder holds is folders_test.cpp's.
#include <gtest/gtest.h>

#include <new>

#include "tools/frieze/batch.h"
#include "tools/frieze/commands.h"
#include "tools/frieze/vae_progress.h"

namespace frieze::test {
namespace {

using tools::Batch;
using tools::BatchFile;
using tools::BatchKey;
using tools::BatchSteps;

// Files named "KIND:NAME"; those whose name begins with '!' fail in read, '?' in work, '#' in write.
struct Bench {
  Batch batch;
  tools::Outputs outputs;
  BatchSteps steps;
  std::vector<std::vector<std::size_t>> worked;
  std::vector<std::size_t> written, done, failed;

  explicit Bench(const std::vector<std::string>& names, std::size_t at_once) {
    for (const std::string& name : names) batch.files.push_back({name, {}, {}});
    batch.several = true;
    steps.at_once = at_once;
    steps.read = [](const BatchFile& file, std::size_t) {
      check<IoError>(!is(file.in, '!'), "cannot read");
      return BatchKey{file.in.substr(0, file.in.find(':')), 10};
    };
    steps.work = [this](std::span<const std::size_t> files) {
      worked.emplace_back(files.begin(), files.end());
      for (const std::size_t i : files) {
        check<ShapeError>(!is(batch.files[i].in, '?'), "cannot work");
        if (is(batch.files[i].in, '$')) throw CudaError("device gone");
        if (is(batch.files[i].in, '&')) throw std::bad_alloc();
      }
    };
    steps.write = [this](const BatchFile& file, std::size_t i) {
      check<IoError>(!is(file.in, '#'), "cannot write");
      written.push_back(i);
    };
    steps.done = [this](std::size_t i) { done.push_back(i); };
    steps.failed = [this](std::size_t i) { failed.push_back(i); };
  }
  static bool is(const std::string& name, char mark) { return name.at(name.find(':') + 1) == mark; }
  int run() { return run_batch(batch, outputs, steps); }
};

using Groups = std::vector<std::vector<std::size_t>>;
using Indices = std::vector<std::size_t>;

TEST(Batch, FilesOfOneKindAreWorkedOnTogether) {
  Bench bench({"a:0", "b:1", "a:2", "a:3", "b:4", "a:5"}, 2);
  EXPECT_EQ(bench.run(), tools::kExitOk);
  EXPECT_EQ(bench.worked, (Groups{{0, 2}, {1, 4}, {3, 5}}));
  EXPECT_EQ(bench.written, (Indices{0, 2, 1, 4, 3, 5}));
  Bench rest({"a:0", "b:1", "a:2"}, 4);
  EXPECT_EQ(rest.run(), tools::kExitOk);
  EXPECT_EQ(rest.worked, (Groups{{0, 2}, {1}})) << "groups that are not full come last, by their first file";
  Bench one({"a:0", "b:1", "a:2"}, 1);
  EXPECT_EQ(one.run(), tools::kExitOk);
  EXPECT_EQ(one.written, (Indices{0, 1, 2}));
}

TEST(Batch, OnlyTheFileAtFaultFails) {
  ::testing::internal::CaptureStderr();
  Bench bench({"a:0", "a:!1", "a:?2", "a:3", "a:#4", "a:&5", "a:6"}, 4);
  EXPECT_EQ(bench.run(), tools::kExitPartly);
  EXPECT_EQ(bench.done, (Indices{0, 3, 6}));
  EXPECT_EQ(bench.failed, (Indices{1, 2, 4, 5}));
  const std::string told = ::testing::internal::GetCapturedStderr();
  for (const char* part : {"cannot read", "cannot work", "cannot write", "not enough memory", "4 of 7 files failed"})
    EXPECT_NE(told.find(part), std::string::npos) << part << " in:\n" << told;
}

TEST(Batch, ADeviceThatFailedEndsIt) {
  ::testing::internal::CaptureStderr();
  Bench bench({"a:0", "a:1", "a:$2", "a:3", "a:4", "a:5"}, 2);
  EXPECT_EQ(bench.run(), tools::kExitPartly);
  EXPECT_EQ(bench.done, (Indices{0, 1}));
  EXPECT_EQ(bench.worked.size(), 2U);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("4 of 6 files failed"), std::string::npos);
  Bench nothing({"a:$0"}, 2);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(nothing.run(), tools::kExitError);
  (void)::testing::internal::GetCapturedStderr();
  Bench single({"a:?0"}, 2);
  single.batch.several = false;
  EXPECT_THROW(single.run(), ShapeError);
}

TEST(Batch, WhatWaitsIsBounded) {
  Bench bench({"a:0", "b:1", "b:2", "c:3", "d:4"}, 100);
  bench.steps.most_waiting = 35;
  EXPECT_EQ(bench.run(), tools::kExitOk);
  EXPECT_EQ(bench.worked, (Groups{{1, 2}, {0}, {3}, {4}})) << "the most bytes go first";
}

TEST(Batch, ProgressTellsTheRateAndTheTimeLeft) {
  using tools::vae_rate;
  EXPECT_EQ(vae_rate(0, 50, 0, 3), "0 of 50 files");
  EXPECT_EQ(vae_rate(10, 50, 20, 4), "10 of 50 files, 5.0 images/s, 16 s left");
  EXPECT_EQ(vae_rate(50, 50, 50, 25), "50 of 50 files, 2.0 images/s, 0 s left");
  EXPECT_EQ(vae_rate(1, 91, 1, 1), "1 of 91 files, 1.0 images/s, 1 min 30 s left");
  EXPECT_EQ(vae_rate(1, 1201, 1, 6), "1 of 1201 files, 0.2 images/s, 2 h 0 min left");
}

}  // namespace
}  // namespace frieze::test

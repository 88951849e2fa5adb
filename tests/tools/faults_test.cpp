// What users meet when something breaks on the way: a disk without room, a run that is cancelled; and long runs.
#include <gtest/gtest.h>

#include <filesystem>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>

#include "support/parity.h"
#include "tools/command.h"

namespace frieze::test {
namespace {

const std::string kPhoto = source_path("tests/data/chelsea.png");

// Runs a shell command; stdout and stderr go to files outside of any limit that it sets.
Outcome shell(const std::string& command) {
  TempFolder folder;
  const std::string line = "( " + command + " ) >'" + folder.file("out") + "' 2>'" + folder.file("err") + "' </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(folder.file("out")), slurp(folder.file("err"))};
}

// No file may grow past 8 KiB, which stops a write in its middle, as a full disk does.
TEST(FullDisk, APictureThatDoesNotFitIsAnErrorAndLeavesNothing) {
  TempFolder folder;
  const Outcome outcome = shell("ulimit -f 16; '" + frieze_program() + "' run quickstart --device cpu --in '" + kPhoto + "' --out '" +
                                folder.file("out.png") + "'");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err.rfind("frieze: error: ", 0), 0U) << outcome.err;
  EXPECT_NE(outcome.err.find("out.png"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("File too large"), std::string::npos) << outcome.err;
  EXPECT_EQ(folder.count(), 0);
}

TEST(FullDisk, TapsThatDoNotFitAreAnErrorAndLeaveNeitherFile) {
  TempFolder folder;
  const Outcome outcome = shell("ulimit -f 16; '" + frieze_program() + "' run quickstart --device cpu --in '" + kPhoto + "' --out '" +
                                folder.file("out.png") + "' --tap '*' --tap-out '" + folder.file("taps.safetensors") + "'");
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  EXPECT_NE(outcome.err.find("taps.safetensors"), std::string::npos) << outcome.err;
  EXPECT_EQ(folder.count(), 0);
}

TEST(FullDisk, AFileThatWasThereStaysAsItWas) {
  TempFolder folder;
  std::ofstream(folder.file("out.png")) << "precious";
  const Outcome outcome = shell("ulimit -f 16; '" + frieze_program() + "' run quickstart --device cpu --in '" + kPhoto + "' --out '" +
                                folder.file("out.png") + "'");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(slurp(folder.file("out.png")), "precious");
  EXPECT_EQ(folder.count(), 1);
}

TEST(FullDisk, AFullDeviceIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("x", HostTensor({{1, 2}, DType::f32}, std::vector<float>{1, 2}));
  EXPECT_THROW(save_safetensors("/dev/full", tensors), IoError);
  const Outcome outcome = run_frieze({"devices"}, "/dev/full");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("standard output"), std::string::npos) << outcome.err;
}

TEST(Cancelled, ARunThatIsInterruptedLeavesNoFile) {
  for (const char* signal : {"INT", "TERM"}) {
    TempFolder folder;
    const Outcome outcome = shell(std::string("timeout --preserve-status -s ") + signal + " 0.15 '" + frieze_program() +
                                  "' denoise --device reference '" + kPhoto + "' -o '" + folder.file("out.png") + "'");
    EXPECT_NE(outcome.status, 0) << "it was too fast to be interrupted";
    EXPECT_EQ(folder.count(), 0) << signal;
  }
}

TEST(RunTaps, ValuesGoIntoAFile) {
  TempFolder folder;
  const std::string taps = folder.file("taps.safetensors");
  const std::vector<std::string> base = {"run",  "quickstart", "--device", "cpu",   "--dtype",
                                         "bf16", "--in",       kPhoto,     "--out", folder.file("out.png")};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = base;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_frieze(arguments);
  };
  const Outcome all = with({"--tap", "*", "--tap-out", taps});
  ASSERT_EQ(all.status, 0) << all.err;
  EXPECT_NE(all.out.find(" taps -> "), std::string::npos) << all.out;
  const std::size_t every = Weights::open(taps).tensors().size();
  EXPECT_GT(every, 3U);
  std::filesystem::remove(taps);
  EXPECT_EQ(with({"--tap", "no_such_module", "--tap-out", taps}).status, 2);
  EXPECT_FALSE(std::filesystem::exists(taps));
  EXPECT_EQ(with({"--tap", "*"}).status, 2) << "taps that go nowhere";
  EXPECT_EQ(with({"--tap-out", taps}).status, 2);
}

std::string soak_program() { return (std::filesystem::path(frieze_program()).parent_path() / "soak").string(); }

class SoakTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(soak_program())) GTEST_SKIP() << "needs the soak program beside frieze";
  }
  static void expect_ok(const std::string& arguments, const std::string& says) {
    const Outcome outcome = shell("'" + soak_program() + "' " + arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
    EXPECT_NE((outcome.out + outcome.err).find(says), std::string::npos) << outcome.out << outcome.err;
    EXPECT_NE(outcome.out.find(" 0 differences"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("soak: ok"), std::string::npos) << outcome.out;
  }
};

TEST_F(SoakTest, ReplaysOnTheCpu) { expect_ok("--device cpu --size 8 --replays 200 --check-every 5", "200 replays in"); }
TEST_F(SoakTest, ThreadsOnTheCpu) { expect_ok("--device cpu --size 8 --threads 8 --seconds 2", "8 threads with three shapes"); }
TEST_F(SoakTest, TellsItsResultAsJson) {
  const Outcome outcome = shell("'" + soak_program() + "' --device cpu --size 8 --replays 20 --json --check-every 5");
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out.rfind("{\"ok\": true, \"replays\": 20,", 0), 0U) << outcome.out;
}
TEST_F(SoakTest, ReplaysOnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_ok("--device cuda --replays 20000", "20000 replays in");
}
TEST_F(SoakTest, ThreadsOnTheGpu) {
  FRIEZE_NEEDS_GPU();
  expect_ok("--device cuda --size 16 --threads 8 --seconds 4", "8 threads with three shapes");
}
TEST_F(SoakTest, WhatItDoesNotKnowIsRefused) {
  for (const char* wrong : {"--replays 0", "--replays", "--speed 3", "--dtype f64"}) {
    const Outcome outcome = shell("'" + soak_program() + "' " + wrong);
    EXPECT_EQ(outcome.status, 2) << wrong;
    EXPECT_EQ(outcome.err.rfind("soak: error: ", 0), 0U) << outcome.err;
  }
}

}  // namespace
}  // namespace frieze::test

// The one rule for several files: what can be done is done, each failure is a line, no two inputs share an output.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>

#include <frieze/core/error.h>

#include "tools/image/image.h"
#include "tools/shell.h"

namespace frieze::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

const std::string kModel = source_path("tests/golden/dc_ae/lite");

// What goes over a folder, and the ending of what it makes there.
struct Command {
  const char* name;
  Arguments begin, in;
  std::string made;
};
const Command kCommands[] = {
    {"denoise", {"denoise", "--device", "cpu"}, {}, ".png"},
    {"roundtrip", {"vae", "roundtrip", "--device", "cpu", "--model", kModel}, {"--in"}, ".png"},
    {"encode", {"vae", "encode", "--device", "cpu", "--model", kModel}, {"--in"}, ".safetensors"},
};

class Folders : public ::testing::TestWithParam<Command> {
 protected:
  void SetUp() override { fs::create_directory(in); }
  void picture(const std::string& name) {
    tools::write_image(folder.file("in/" + name), {16, 16, 3, std::vector<float>(16 * 16 * 3, 0.5F)});
  }
  Outcome run(const std::string& to) {
    Arguments all = GetParam().begin;
    all.insert(all.end(), GetParam().in.begin(), GetParam().in.end());
    for (const std::string& more : {in, std::string("--out"), to}) all.push_back(more);
    return run_frieze(all);
  }
  static std::ptrdiff_t lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }
  bool made(const std::string& stem) const { return fs::exists(out + "/" + stem + GetParam().made); }
  std::ptrdiff_t made_count() const { return std::distance(fs::directory_iterator(out), fs::directory_iterator()); }

  TempFolder folder;
  std::string in = folder.file("in"), out = folder.file("out");
};

TEST_P(Folders, WhatCanBeDoneIsDone) {
  picture("a.png");
  picture("b.PNG");
  picture("-x.png");
  picture("umlaut\xff.png");
  folder.write("in/broken.jpg", std::string("no picture"));
  folder.write("in/empty.png", std::string());
  ASSERT_EQ(::mkfifo(folder.file("in/pipe.png").c_str(), 0600), 0);
  fs::create_symlink("nowhere.png", folder.file("in/dangling.png"));
  fs::create_symlink("a.png", folder.file("in/link.png"));
  const Outcome outcome = run(out);
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  EXPECT_EQ(lines(outcome.err), 5) << outcome.err;
  for (const char* bad : {"broken.jpg: ", "empty.png: ", "pipe.png: ", "dangling.png: ", "4 of 9 files failed"}) {
    EXPECT_NE(outcome.err.find(bad), std::string::npos) << bad << ": " << outcome.err;
  }
  for (const char* good : {"a", "b", "-x", "umlaut\xff", "link"}) EXPECT_TRUE(made(good)) << good;
  EXPECT_EQ(made_count(), 5);
}

TEST_P(Folders, HiddenFilesOthersAndFoldersAreLeftOut) {
  picture("a.png");
  for (const char* name : {"._a.jpg", ".DS_Store", ".hidden.png"}) folder.write(std::string("in/") + name, std::string("\x05\x16\x07"));
  for (const char* name : {"Thumbs.db", "notes.txt"}) folder.write(std::string("in/") + name, std::string("x"));
  fs::create_directories(folder.file("in/folder.png"));
  fs::create_directories(folder.file("in/deeper"));
  fs::copy(folder.file("in/a.png"), folder.file("in/deeper/c.png"));
  const Outcome outcome = run(out);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_NE(outcome.out.find("2 other files left out"), std::string::npos) << outcome.out;
  EXPECT_EQ(made_count(), 1);
}

TEST_P(Folders, TwoInputsNeverShareAnOutput) {
  for (const char* name : {"a.png", "a.jpg", "a.JPG", "b.jpg", "a.jpg.png"}) picture(name);  // the content says what it is
  const Outcome outcome = run(out);
  const std::string ending = GetParam().made;
  EXPECT_TRUE(made("b"));
  EXPECT_TRUE(made("a.JPG") || outcome.err.find("a.JPG") != std::string::npos);
  // Each that is done has a file of its own; what has none is told.
  const std::ptrdiff_t failed = std::max<std::ptrdiff_t>(lines(outcome.err) - 1, 0);
  EXPECT_EQ(made_count() + failed, 5) << outcome.err;
  EXPECT_EQ(outcome.status, failed == 0 ? 0 : 1) << outcome.err;
}

TEST_P(Folders, NothingDoneIsAnErrorAndLeavesNoFolder) {
  const Outcome empty = run(out);
  EXPECT_EQ(empty.status, 2);
  EXPECT_EQ(lines(empty.err), 1) << empty.err;
  folder.write("in/a.png", std::string("x"));
  folder.write("in/b.jpg", std::string("y"));
  const Outcome bad = run(out);
  EXPECT_EQ(bad.status, 2);
  EXPECT_EQ(bad.out, "");
  EXPECT_NE(bad.err.find("2 of 2 files failed"), std::string::npos) << bad.err;
  EXPECT_FALSE(fs::exists(out));
  // A folder that was there before stays.
  fs::create_directory(out);
  EXPECT_EQ(run(out).status, 2);
  EXPECT_TRUE(fs::exists(out));
  folder.write("file", std::string("x"));
  EXPECT_EQ(run(folder.file("file")).status, 2);
  EXPECT_EQ(slurp(folder.file("file")), "x");
  EXPECT_EQ(run(folder.file("no/such")).status, 2);
  EXPECT_FALSE(fs::exists(folder.file("no")));
}

TEST_P(Folders, InputsAreNotWrittenOver) {
  picture("a.png");
  const std::string before = slurp(in + "/a.png");
  fs::create_directory_symlink("in", folder.file("door"));
  for (const std::string& to : {in, folder.file("door"), in + "/../in"}) {
    const Outcome outcome = run(to);
    EXPECT_EQ(slurp(in + "/a.png"), before);
    EXPECT_EQ(outcome.status, 2) << to;
    EXPECT_NE(outcome.err.find("would be written over"), std::string::npos) << outcome.err;
  }
  // One output leads to an input, by a link of either kind; the others are done.
  picture("b.png");
  fs::create_directory(out);
  fs::create_hard_link(in + "/a.png", out + "/a" + GetParam().made);
  const Outcome outcome = run(out);
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  EXPECT_EQ(slurp(in + "/a.png"), before);
  EXPECT_TRUE(made("b"));
}

TEST_P(Folders, AFullDiskEndsOneFileAndKeepsTheOthers) {
  picture("a.png");
  fs::create_directory(out);
  fs::create_directory(out + "/a" + GetParam().made);  // in the way
  picture("b.png");
  const Outcome outcome = run(out);
  EXPECT_EQ(outcome.status, 1) << outcome.err;
  EXPECT_TRUE(fs::is_directory(out + "/a" + GetParam().made));
  EXPECT_TRUE(made("b"));
  EXPECT_EQ(made_count(), 2);
}

// A folder that a link is to lead to is made there; one that leads in a circle is told, with its reason.
TEST_P(Folders, AreMadeAtTheEndOfALink) {
  picture("a.png");
  fs::create_directory(folder.file("elsewhere"));
  fs::create_symlink("elsewhere/deep", out);
  Outcome outcome = run(out);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(fs::is_symlink(out));
  EXPECT_TRUE(made("a"));
  EXPECT_TRUE(fs::exists(folder.file("elsewhere/deep/a") + GetParam().made));
  fs::remove_all(folder.file("elsewhere/deep"));
  fs::remove(out);
  fs::create_symlink(fs::path(out).filename(), out);
  outcome = run(out);
  EXPECT_EQ(outcome.status, 2) << outcome.err;
  EXPECT_EQ(outcome.err.find("Success"), std::string::npos) << outcome.err;
}

// Stopped at any moment, a folder command leaves whole files, or no folder.
TEST_P(Folders, StoppedLeaveNoEmptyFolder) {
  for (int i = 0; i < 3; ++i) picture(std::string(1, static_cast<char>('a' + i)) + ".png");
  for (int i = 0; i < 40; ++i) {
    std::string command = concat_text("timeout -s ", i % 2 == 0 ? "INT" : "TERM", " 0.", 1000 + 3 * i, ' ', quoted(frieze_program()));
    command.replace(command.find(" 0.1") + 3, 1, "0");  // 0.0xx seconds
    for (const Arguments& part : {GetParam().begin, GetParam().in, {in, "--out", out}}) {
      for (const std::string& argument : part) command += ' ' + quoted(argument);
    }
    (void)shell(command);
    EXPECT_TRUE(!fs::exists(out) || made_count() > 0) << command;
    fs::remove_all(out);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryCommand, Folders, ::testing::ValuesIn(kCommands),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FoldersInPlace, EachPictureIsReplaced) {
  TempFolder folder;
  tools::Image noisy{16, 16, 3, {}};
  for (int i = 0; i < 16 * 16 * 3; ++i) noisy.pixels.push_back(static_cast<float>(i * 7919 % 97) / 96);
  tools::write_image(folder.file("a.png"), noisy);
  tools::write_image(folder.file("b.png"), noisy);
  folder.write("notes.txt", std::string("x"));
  const std::string before = slurp(folder.file("a.png"));
  const Outcome outcome = run_frieze({"denoise", folder.path().string(), "--in-place", "--device", "cpu"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_NE(slurp(folder.file("a.png")), before);
  EXPECT_EQ(folder.count(), 3);
}

TEST(FoldersAndFiles, SeveralInputsFollowTheSameRule) {
  TempFolder folder;
  tools::write_image(folder.file("a.png"), {16, 16, 3, std::vector<float>(16 * 16 * 3, 0.5F)});
  folder.write("b.png", std::string("x"));
  const Arguments base = {"vae",      "roundtrip",
                          "--device", "cpu",
                          "--model",  kModel,
                          "--in",     folder.file("a.png"),
                          "--in",     folder.file("b.png"),
                          "--in",     folder.file("absent.png")};
  Arguments with_out = base;
  with_out.insert(with_out.end(), {"--out", folder.file("out")});
  for (const Arguments& arguments : {base, with_out}) {
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("2 of 3 files failed"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.out.find("a.png 16x16"), std::string::npos) << outcome.out;
  }
  EXPECT_TRUE(fs::exists(folder.file("out/a.png")));
}

}  // namespace
}  // namespace frieze::test

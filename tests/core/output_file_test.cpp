// The one writer of files: through links, never onto what is no file, all or nothing.
#include <frieze/core/output_file.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <frieze/core/error.h>

#include "core/files.h"

namespace frieze::test {
namespace {

class OutputFiles : public Files {
 protected:
  static void write(const fs::path& path, const std::string& text) { write_file(path, std::as_bytes(std::span(text))); }
  static std::string refused_file(const fs::path& path) {
    return message_of<IoError>([&] { write(path, "new"); });
  }
  static mode_t mode_of(const fs::path& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0);
    return status.st_mode & 07777;
  }
};

TEST_F(OutputFiles, ALinkIsFollowedWhereItsEndDoesNotExistYet) {
  fs::create_directories(folder_ / "res" / "deep");
  fs::create_symlink("res/today.png", folder_ / "latest.png");               // relative to the link's folder
  fs::create_symlink(folder_ / "res" / "absolute.png", folder_ / "a.png");   // absolute
  fs::create_symlink("../../chained.png", folder_ / "res" / "deep" / "c2");  // a chain through folders
  fs::create_symlink("res/deep/c2", folder_ / "c1");
  fs::create_directory_symlink("res", folder_ / "door");  // a folder behind a link
  for (const auto& [path, end] : {std::pair("latest.png", "res/today.png"), {"a.png", "res/absolute.png"}, {"c1", "chained.png"}}) {
    write(folder_ / path, "first");
    EXPECT_TRUE(fs::is_symlink(folder_ / path)) << path;
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(folder_ / end))) << end;
    write(folder_ / path, "second");  // and where it does
    EXPECT_TRUE(fs::is_symlink(folder_ / path)) << path;
    EXPECT_EQ(bytes_of(folder_ / end), "second");
  }
  write(folder_ / "door" / "in.png", "x");
  EXPECT_EQ(bytes_of(folder_ / "res" / "in.png"), "x");
  EXPECT_TRUE(fs::is_symlink(folder_ / "door"));
}

TEST_F(OutputFiles, LinksThatLeadNowhereAreRefusedAndStay) {
  fs::create_symlink("b", folder_ / "a");
  fs::create_symlink("a", folder_ / "b");
  fs::create_symlink("self", folder_ / "self");
  fs::create_symlink("absent/x", folder_ / "dangling");
  for (int i = 0; i < 50; ++i) fs::create_symlink(std::to_string(i + 1), folder_ / std::to_string(i));
  EXPECT_SAYS(refused_file(folder_ / "a"), "its links lead in a circle");
  EXPECT_SAYS(refused_file(folder_ / "self"), "its links lead in a circle");
  EXPECT_SAYS(refused_file(folder_ / "0"), "its links lead in a circle");  // more than the kernel follows
  EXPECT_SAYS(refused_file(folder_ / "dangling"), "there is no folder absent");
  for (const char* link : {"a", "b", "self", "0", "dangling"}) EXPECT_TRUE(fs::is_symlink(folder_ / link)) << link;
  EXPECT_EQ(file_count(), 54U);
}

TEST_F(OutputFiles, WhatIsNoRegularFileIsRefusedAndStays) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder_ / "to_pipe");
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  (folder_ / "socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(listener);
  for (const fs::path& path : {folder_ / "pipe", folder_ / "to_pipe", folder_ / "socket", fs::path("/dev/null"), fs::path("/dev/full")}) {
    const auto type = fs::status(path).type();
    EXPECT_SAYS(refused_file(path), "it is a device, pipe or socket") << path;
    EXPECT_EQ(fs::status(path).type(), type) << path;
  }
  EXPECT_SAYS(refused_file(folder_), "it is a folder");
  EXPECT_SAYS(refused_file(folder_ / "new/"), "there is no folder");
  EXPECT_SAYS(refused_file(folder_ / ".."), "it is a folder");
  EXPECT_SAYS(refused_file(""), "the name of the output file is empty");
  EXPECT_EQ(file_count(), 3U);
}

TEST_F(OutputFiles, ADescriptorsLinkIsNotReplaced) {
  // As with `frieze … -o /dev/stdout >file; rm file`: the link's text names a file that is not there.
  const fs::path gone = put("gone", "");
  const int fd = ::open(gone.c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  fs::create_symlink("/proc/self/fd/" + std::to_string(fd), folder_ / "out");
  EXPECT_SAYS(refused_file(folder_ / "out"), "it stands for an open descriptor");
  fs::remove(gone);
  for (const fs::path& path : {folder_ / "out", fs::path("/proc/self/fd") / std::to_string(fd), fs::path("/dev/fd") / std::to_string(fd)}) {
    EXPECT_SAYS(refused_file(path), "it stands for an open descriptor") << path;
  }
  ::close(fd);
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(OutputFiles, ModesAreKeptWithoutTheBitsThatGiveRights) {
  const mode_t mask = ::umask(027);
  write(folder_ / "new", "x");
  ::umask(mask);
  EXPECT_EQ(mode_of(folder_ / "new"), 0640U);
  for (const mode_t mode : {0600U, 0444U | 0200U, 0777U, 04755U, 02755U, 06711U, 01644U}) {
    const fs::path path = put("old", "x");
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    write(path, "y");
    EXPECT_EQ(mode_of(path), mode & 0777U) << std::oct << mode;
  }
}

TEST_F(OutputFiles, HardLinksKeepWhatTheyHad) {
  const fs::path path = put("a", "old");
  fs::create_hard_link(path, folder_ / "b");
  write(path, "new");
  EXPECT_EQ(bytes_of(path), "new");
  EXPECT_EQ(bytes_of(folder_ / "b"), "old");
}

TEST_F(OutputFiles, NamesAsLongAsTheyMayBe) {
  const std::string longest(255, 'n');
  write(folder_ / longest, "x");
  write(folder_ / longest, "y");
  EXPECT_EQ(bytes_of(folder_ / longest), "y");
  EXPECT_SAYS(refused_file(folder_ / std::string(256, 'n')), "File name too long");
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(OutputFiles, WriteProtectedFilesAndFoldersAreRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const fs::path path = put("old", "x");
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  EXPECT_SAYS(refused_file(path), "Permission denied");
  fs::create_directory(folder_ / "locked");
  ASSERT_EQ(::chmod((folder_ / "locked").c_str(), 0555), 0);
  EXPECT_SAYS(refused_file(folder_ / "locked" / "new"), "Permission denied");
}

TEST_F(OutputFiles, WhatIsNotCommittedLeavesNothing) {
  put("old", "x");
  {
    OutputFile file(folder_ / "old");
    file.write(std::as_bytes(std::span("new", 3)));
    file.finish();
    EXPECT_EQ(file_count(), 2U);
  }
  check_writable(folder_ / "another");
  EXPECT_EQ(bytes_of(folder_ / "old"), "x");
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(OutputFiles, ASetAppearsTogetherOrNotAtAll) {
  put("a", "old a"), put("b", "old b");
  const auto fill = [](OutputFile& file, const std::string& text) { file.write(std::as_bytes(std::span(text))); };
  {
    OutputSet set;
    for (const char* name : {"a", "new", "b"}) fill(set.open(folder_ / name), name);
    set.finish();
    EXPECT_EQ(bytes_of(folder_ / "a"), "old a");
    set.commit();
  }
  for (const char* name : {"a", "new", "b"}) EXPECT_EQ(bytes_of(folder_ / name), name);
  EXPECT_EQ(file_count(), 3U);
  // A name that became a folder meanwhile cannot be replaced: what was in place already goes back.
  OutputSet set;
  for (const char* name : {"a", "other", "late"}) fill(set.open(folder_ / name), "changed");
  fs::create_directory(folder_ / "late");
  EXPECT_SAYS(message_of<IoError>([&] { set.commit(); }), "late: cannot be written");
  EXPECT_EQ(bytes_of(folder_ / "a"), "a");
  EXPECT_FALSE(fs::exists(folder_ / "other"));
  EXPECT_EQ(file_count(), 4U);
}

TEST_F(OutputFiles, TwoOutputsAreNeverOneFile) {
  put("a", "x");
  fs::create_hard_link(folder_ / "a", folder_ / "hard");
  fs::create_symlink("a", folder_ / "soft");
  fs::create_symlink("new", folder_ / "soft_new");
  const auto both = [&](const fs::path& first, const fs::path& second) {
    return message_of<IoError>([&] {
      OutputSet set;
      set.open(first);
      set.open(second);
    });
  };
  for (const char* name : {"a", "./a", "hard", "soft"}) EXPECT_SAYS(both(folder_ / "a", folder_ / name), "it is the same file as ");
  EXPECT_SAYS(both(folder_ / "new", folder_ / "soft_new"), "it is the same file as ");
  EXPECT_SAYS(both(folder_ / "new", folder_ / "." / "new"), "it is the same file as ");
  EXPECT_EQ(file_count(), 4U);
}

TEST_F(OutputFiles, AProcessThatIsStoppedRemovesItsTemporariesAndNoOthers) {
  const OutputFile of_the_parent(folder_ / "parent");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGTERM, [](int) {
      remove_temporaries();
      ::_exit(7);
    });
    const OutputFile one(folder_ / "one"), two(folder_ / "two");
    ::raise(SIGTERM);
    ::_exit(8);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
  EXPECT_EQ(file_count(), 1U) << "the parent's temporary alone";
}

}  // namespace
}  // namespace frieze::test

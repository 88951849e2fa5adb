#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>

#include "core/files.h"

namespace frieze::test {
namespace {

class Writing : public Files {};

std::map<std::string, HostTensor> some_tensors() {
  const std::vector<float> six{1, 2, 3, 4, 5, 6};
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("a.half", HostTensor({{3}, DType::f16}, std::span(six).first(3)));
  tensors.emplace("b \"\n\u00e9", HostTensor({{2, 3}}, six));
  tensors.emplace("image", HostTensor({{1, 3, 1, 2}, DType::bf16, Format::nhwc}, six));
  tensors.emplace("none", HostTensor(TensorSpec{{0, 5}}));
  tensors.emplace("scalar", HostTensor(TensorSpec{Shape{}}, std::span(six).last(1)));
  return tensors;
}

TEST_F(Writing, WritesWhatItReads) {
  const fs::path path = folder_ / "out.safetensors";
  save_safetensors(path, some_tensors(), {{"k\"", "v\n"}});
  const Weights w = Weights::open(path);
  ASSERT_EQ(w.tensors().size(), 5U);
  for (const auto& [name, tensor] : some_tensors()) {
    EXPECT_EQ(w.at(name).shape, tensor.spec().shape);
    EXPECT_EQ(w.tensor(name).spec().dtype, tensor.spec().dtype);
    EXPECT_EQ(w.floats(name), tensor.floats()) << name;  // row-major, whatever the format in memory was
    const std::span<const std::byte> data = w.at(name).data;
    EXPECT_TRUE(data.empty() || reinterpret_cast<std::uintptr_t>(data.data()) % size_of(tensor.spec().dtype) == 0) << name;
  }
  EXPECT_EQ(w.metadata(), (std::map<std::string, std::string>{{"k\"", "v\n"}}));
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(Writing, WritesIntegersExactly) {
  const std::vector<std::int64_t> values{(std::int64_t{1} << 62) + 1, -1, 16777217, 2, -3, 4};
  std::map<std::string, HostTensor> tensors = some_tensors();
  tensors.emplace("wide", HostTensor({{6}, DType::i64}, values));
  tensors.emplace("ids", HostTensor({{1, 3, 1, 2}, DType::i32, Format::nhwc}, values));
  const fs::path path = folder_ / "out.safetensors";
  save_safetensors(path, tensors);
  const Weights w = Weights::open(path);
  EXPECT_EQ(w.at("wide").dtype, "I64");
  EXPECT_EQ(w.at("ids").dtype, "I32");
  EXPECT_EQ(w.tensor("wide").integers(), values);
  EXPECT_EQ(w.tensor("ids").integers(), (std::vector<std::int64_t>{1, -1, 16777217, 2, -3, 4}));
  EXPECT_EQ(w.floats("a.half"), (std::vector<float>{1, 2, 3}));
}

TEST_F(Writing, WritingTwiceGivesTheSameBytesAndReplacesTheFile) {
  const fs::path path = folder_ / "out.safetensors";
  put("out.safetensors", "something else, longer than what comes, and kept until the last moment" + std::string(5000, '.'));
  save_safetensors(path, some_tensors());
  const std::string first = bytes_of(path);
  save_safetensors(path, some_tensors());
  EXPECT_EQ(bytes_of(path), first);
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(Writing, WritingThroughALinkKeepsTheLink) {
  put("real", "");
  fs::create_symlink("real", folder_ / "link");
  save_safetensors(folder_ / "link", some_tensors());
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(Weights::open(folder_ / "real").tensors().size(), 5U);
}

TEST_F(Writing, UnwritablePathsAreNamed) {
  const auto failed = [&](const fs::path& path) { return message_of<IoError>([&] { save_safetensors(path, some_tensors()); }); };
  EXPECT_SAYS(failed(folder_ / "absent" / "out"), "out: cannot be written: No such file or directory");
  EXPECT_SAYS(failed(folder_), "cannot be written: it is a folder");
  EXPECT_SAYS(failed("/dev/full"), "/dev/full: cannot be written: it is a device, pipe or socket");
  struct stat status = {};
  ASSERT_EQ(::stat("/dev/full", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  EXPECT_EQ(file_count(), 0U);
}

TEST_F(Writing, AFullDiskLeavesTheOldFileAndNothingElse) {
  const fs::path path = put("out.safetensors", "old");
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("w", HostTensor({{100'000}}, std::vector<float>(100'000)));
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{50'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of<IoError>([&] { save_safetensors(path, tensors); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_SAYS(message, "out.safetensors: cannot be written: File too large");
  EXPECT_EQ(bytes_of(path), "old");
  EXPECT_EQ(file_count(), 1U);
}

TEST_F(Writing, NamesThatTheFormatCannotHoldAreRefused) {
  const auto failed = [&](const std::string& name, const std::map<std::string, std::string>& metadata = {}) {
    std::map<std::string, HostTensor> tensors;
    tensors.emplace(name, HostTensor(TensorSpec{{1}}, std::vector<float>{1}));
    return message_of<WeightsError>([&] { save_safetensors(folder_ / "out", tensors, metadata); });
  };
  EXPECT_SAYS(failed("__metadata__"), "'__metadata__' cannot be a tensor's name");
  EXPECT_SAYS(failed(std::string(1025, 'n')), "longer than 1024 bytes");
  EXPECT_SAYS(failed("\xff"), "'\\xff' is not UTF-8");
  EXPECT_SAYS(failed("w", {{"k", "\x80"}}), "'\\x80' is not UTF-8");
  std::map<std::string, HostTensor> empty;
  empty["w"];
  EXPECT_SAYS(message_of<WeightsError>([&] { save_safetensors(folder_ / "out", empty); }), "tensor 'w' holds no data");
  EXPECT_EQ(file_count(), 0U);
}

}  // namespace
}  // namespace frieze::test

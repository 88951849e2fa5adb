// The tuning cache: what it remembers, and what it survives.
#include <frieze/core/tuning_cache.h>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "core/files.h"

namespace frieze::test {
namespace {

class TuningCacheFile : public Files {
 protected:
  fs::path file() const { return folder_ / "cache" / "tuning.json"; }
  void put_cache(const std::string& text) {
    fs::create_directories(file().parent_path());
    std::ofstream(file(), std::ios::binary) << text;
  }
  // Runs `action` and gives back what it wrote to stderr.
  template <class Action>
  static std::string stderr_of(Action&& action) {
    testing::internal::CaptureStderr();
    action();
    return testing::internal::GetCapturedStderr();
  }
  // The file cannot be used: one warning, nothing found; the next store writes it anew, or leaves it as it is if it is not Frieze's.
  void expect_ignored(const std::string& text, const char* why, bool own = false) {
    SCOPED_TRACE(text.substr(0, 80));
    put_cache(text);
    TuningCache cache(file());
    const std::string said = stderr_of([&] {
      EXPECT_EQ(cache.find("gpu", "key"), std::nullopt);
      EXPECT_EQ(cache.find("gpu", "other"), std::nullopt);
      cache.store("gpu", "key", "value");
    });
    EXPECT_SAYS(said, why);
    EXPECT_SAYS(said, own ? " ignored: " : " left as it is: ");
    EXPECT_EQ(said.find("frieze: warning: tuning cache "), 0U) << said;
    EXPECT_EQ(said.find('\n'), said.size() - 1) << said;
    EXPECT_EQ(cache.find("gpu", "key"), "value");
    if (!own) {
      EXPECT_EQ(bytes_of(file()), text);
      return;
    }
    TuningCache next(file());
    const std::string later = stderr_of([&] { EXPECT_EQ(next.find("gpu", "key"), "value"); });
    EXPECT_EQ(later, "");
  }
};

TEST_F(TuningCacheFile, RemembersAcrossProcesses) {
  const std::string odd = "quote \" backslash \\ newline \n umlaut \xC3\xA4";
  TuningCache cache(file());
  EXPECT_EQ(cache.find("gpu", "key"), std::nullopt);
  cache.store("gpu", "key", "first");
  cache.store("gpu", "key", "second");
  cache.store("gpu", odd, odd);
  cache.store("other gpu", "key", "third");
  EXPECT_EQ(cache.find("gpu", "key"), "second");
  TuningCache next(file());
  EXPECT_EQ(next.find("gpu", "key"), "second");
  EXPECT_EQ(next.find("gpu", odd), odd);
  EXPECT_EQ(next.find("other gpu", "key"), "third");
  EXPECT_EQ(next.find("other gpu", odd), std::nullopt);
  EXPECT_EQ(next.find("no gpu", "key"), std::nullopt);
  EXPECT_EQ(std::distance(fs::directory_iterator(file().parent_path()), {}), 1) << "a temporary file was left";
  EXPECT_SAYS(bytes_of(file()), "    \"gpu\": {\n");  // a line each, for people
}

TEST_F(TuningCacheFile, WithoutAFileRemembersInTheProcess) {
  TuningCache cache;
  cache.store("gpu", "key", "value");
  EXPECT_EQ(cache.find("gpu", "key"), "value");
  EXPECT_EQ(file_count(), 0U);
}

TEST_F(TuningCacheFile, LeavesWhatItDidNotWriteAndMendsItsOwn) {
  TuningCache whole(file());
  whole.store("gpu", "key", "value");
  const std::string good = bytes_of(file());
  for (std::size_t length = 3; length + 2 < good.size(); length += 7) expect_ignored(good.substr(0, length), "is not JSON", true);
  expect_ignored(good + "garbage", "is not JSON", true);
  expect_ignored("My notes.\n", "is not JSON");
  expect_ignored("{\n", "is not JSON");
  expect_ignored(std::string(good).replace(good.find("Frieze"), 6, "Freeze") + "}", "is not JSON");
  expect_ignored(std::string(100, '\0'), "is not JSON");
  expect_ignored("\xFF\xFE{}", "is not JSON");
  expect_ignored("{\"format\": 1, \"machines\": {\"gpu\": {\"key\": \"\xC3\"}}}", "is not JSON");
  expect_ignored(std::string(1 << 20, '['), "nested too deeply");
  expect_ignored(R"({"format": 1, "machines": {"gpu": {"key": {"deep": 1}}}})", "nested too deeply");
  for (const char* foreign : {"[]", "null", "7", "\"text\"", "{}", R"({"format": "1", "machines": {}})",
                              R"({"format": 1.0, "machines": {}})", R"({"format": 1})", R"({"machines": {}})"}) {
    expect_ignored(foreign, "is not a file of Frieze's");
  }
  expect_ignored(R"({"format": 2, "machines": {}})", "is of format 2, expected 1");
  expect_ignored(R"({"format": 1, "machines": []})", "has no list of machines");
  expect_ignored(R"({"format": 1, "machines": {"gpu": []}})", "a machine without choices");
  expect_ignored(R"({"format": 1, "machines": {"gpu": "key"}})", "a machine without choices");
  for (const char* value : {"1", "null", "true", "1e999"}) {
    const std::string text = std::string(R"({"format": 1, "machines": {"gpu": {"key": )") + value + "}}}";
    expect_ignored(text, std::string_view(value) == "1e999" ? "is not JSON" : "a choice that is no text");
  }
  expect_ignored(std::string(good).replace(good.find(": 1,"), 4, ": 2,"), "is of format 2, expected 1");
  expect_ignored(std::string(good).replace(good.find(": 1,"), 4, ": 0,"), "is of format 0, expected 1", true);
  expect_ignored(good + std::string(5 << 20, ' '), "bytes, expected at most", true);
  expect_ignored(std::string(5 << 20, ' '), "bytes, expected at most");
}

TEST_F(TuningCacheFile, NeverGrowsPastWhatItReads) {
  TuningCache cache(file());
  const std::string large(1 << 20, 'x');
  for (int i = 0; i < 10; ++i) cache.store("gpu", std::to_string(i), large);
  EXPECT_LE(fs::file_size(file()), std::uintmax_t{4} << 20);
  TuningCache next(file());
  EXPECT_EQ(stderr_of([&] { EXPECT_EQ(next.find("gpu", "9"), large); }), "");
}

TEST_F(TuningCacheFile, AFileThatCannotBeWrittenCostsOneWarning) {
  put("plain", "a file where a folder should be");
  const fs::path in_a_file = folder_ / "plain" / "tuning.json";
  fs::create_directory(folder_ / "folder");
  for (const fs::path& path : {in_a_file, folder_ / "folder", fs::path("/proc/frieze/tuning.json"), fs::path("/dev/null")}) {
    TuningCache cache(path);
    const std::string said = stderr_of([&] {
      for (const char* key : {"a", "b", "c"}) cache.store("gpu", key, "value");
    });
    EXPECT_EQ(cache.find("gpu", "b"), "value");
    EXPECT_EQ(said.find('\n'), said.size() - 1) << path << ": " << said;
    EXPECT_SAYS(said, path.string());
  }
  struct stat status = {};
  ASSERT_EQ(::stat("/dev/null", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
  EXPECT_EQ(bytes_of(folder_ / "plain"), "a file where a folder should be");
}

TEST_F(TuningCacheFile, ALinkStaysALink) {
  put_cache("");
  fs::create_symlink(file(), folder_ / "link.json");
  TuningCache cache(folder_ / "link.json");
  (void)stderr_of([&] { cache.store("gpu", "key", "value"); });
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.json"));
  EXPECT_EQ(TuningCache(file()).find("gpu", "key"), "value");
}

TEST_F(TuningCacheFile, TwoWritersKeepEachOthersChoices) {
  TuningCache a(file()), b(file());
  EXPECT_EQ(a.find("gpu", "of b"), std::nullopt);  // both have read an empty file
  EXPECT_EQ(b.find("gpu", "of a"), std::nullopt);
  a.store("gpu", "of a", "1");
  b.store("gpu", "of b", "2");
  TuningCache next(file());
  EXPECT_EQ(next.find("gpu", "of a"), "1");
  EXPECT_EQ(next.find("gpu", "of b"), "2");
}

TEST_F(TuningCacheFile, ManyWritersNeverTearTheFile) {
  std::vector<std::thread> writers;
  const std::string said = stderr_of([&] {
    for (int w = 0; w < 4; ++w) {
      writers.emplace_back([&, w] {
        TuningCache cache(file());
        for (int i = 0; i < 50; ++i) {
          cache.store("gpu", std::to_string(w) + '/' + std::to_string(i), std::string(1000, 'x'));
          TuningCache(file()).find("gpu", "");  // warns if the file is torn
        }
      });
    }
    for (std::thread& t : writers) t.join();
  });
  EXPECT_EQ(said, "");
  TuningCache next(file());
  int kept = 0;
  for (int w = 0; w < 4; ++w) kept += next.find("gpu", std::to_string(w) + "/0").has_value() ? 1 : 0;
  EXPECT_EQ(kept, 4);
  EXPECT_EQ(std::distance(fs::directory_iterator(file().parent_path()), {}), 1);
}

TEST_F(TuningCacheFile, AnEmptyFileIsWritten) {
  put_cache("");
  TuningCache cache(file());
  EXPECT_EQ(stderr_of([&] { cache.store("gpu", "key", "value"); }), "");
  EXPECT_EQ(TuningCache(file()).find("gpu", "key"), "value");
}

TEST_F(TuningCacheFile, TwentyProcessesKeepAllTheirChoices) {
  constexpr int kProcesses = 20, kKeys = 10;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      TuningCache cache(file());  // each sees what there is at first: little or nothing
      for (int k = 0; k < kKeys; ++k) cache.store("gpu", std::to_string(p) + "/" + std::to_string(k), "v" + std::to_string(p * k));
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  TuningCache all(file());
  for (int p = 0; p < kProcesses; ++p) {
    for (int k = 0; k < kKeys; ++k) {
      EXPECT_EQ(all.find("gpu", std::to_string(p) + "/" + std::to_string(k)), "v" + std::to_string(p * k)) << p << '/' << k;
    }
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(file().parent_path()), {}), 1);
}

TEST_F(TuningCacheFile, WithoutAScopeNoFileIsTouched) {
  const std::string home = (folder_ / "home").string();
  ::setenv("FRIEZE_TUNING_CACHE", (home + "/tuning.json").c_str(), 1);
  tuning_cache().store("gpu", "key of no file", "value");
  EXPECT_EQ(tuning_cache().file(), "");
  ::unsetenv("FRIEZE_TUNING_CACHE");
  EXPECT_FALSE(fs::exists(home));
  {
    const TuningCacheScope outer(file());
    tuning_cache().store("gpu", "key", "outer");
    {
      const TuningCacheScope inner("");
      EXPECT_EQ(tuning_cache().find("gpu", "key"), std::nullopt);
    }
    EXPECT_EQ(tuning_cache().file(), file());
    std::thread([&] { EXPECT_EQ(tuning_cache().file(), ""); }).join();
  }
  EXPECT_EQ(tuning_cache().file(), "");
  EXPECT_EQ(TuningCache(file()).find("gpu", "key"), "outer");
}

// Sets an environment variable, or takes it away, until the end of the block.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) const { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> before_;
};

TEST(TuningCachePlace, FollowsTheEnvironment) {
  const Environment own("FRIEZE_TUNING_CACHE", nullptr), xdg("XDG_CACHE_HOME", nullptr), home("HOME", nullptr);
  EXPECT_EQ(default_tuning_cache_file(), "");
  {
    const Environment set("HOME", "/h");
    EXPECT_EQ(default_tuning_cache_file(), "/h/.cache/frieze/tuning.json");
    const Environment relative("XDG_CACHE_HOME", "cache");
    EXPECT_EQ(default_tuning_cache_file(), "/h/.cache/frieze/tuning.json");
    const Environment cache("XDG_CACHE_HOME", "/c");
    EXPECT_EQ(default_tuning_cache_file(), "/c/frieze/tuning.json");
    const Environment off("FRIEZE_TUNING_CACHE", "off");
    EXPECT_EQ(default_tuning_cache_file(), "");
    const Environment file("FRIEZE_TUNING_CACHE", "/somewhere/else.json");
    EXPECT_EQ(default_tuning_cache_file(), "/somewhere/else.json");
    const Environment empty("FRIEZE_TUNING_CACHE", "");
    EXPECT_EQ(default_tuning_cache_file(), "/c/frieze/tuning.json");
  }
  const Environment relative("HOME", "here");
  EXPECT_EQ(default_tuning_cache_file(), "");
}

}  // namespace
}  // namespace frieze::test

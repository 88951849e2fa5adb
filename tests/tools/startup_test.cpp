// What a command costs before it does anything: memory and time of `frieze --help` and of work on the CPU, and what it links.
#include <gtest/gtest.h>

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>

#include <frieze/core/weights.h>

#include "support/sanitizers.h"
#include "tools/command.h"

namespace frieze::test {
namespace {

struct Cost {
  bool traced = false;  ///< false: this machine lets no process trace another
  int status = -1;
  double resident_mib = 0, cpu_ms = 0;
};

// VmHWM, in KiB, of a process that is about to end. (The peak that wait4 tells counts the parent's pages before the exec.)
double peak_of(pid_t process) {
  std::ifstream in("/proc/" + std::to_string(process) + "/status");
  for (std::string word; in >> word;) {
    double kib = 0;
    if (word == "VmHWM:" && in >> kib) return kib;
  }
  return -1;
}

Cost cost_of(const std::vector<std::string>& arguments) {
  const std::string program = frieze_program();
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(122);
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(120);
    ::execv(program.c_str(), argv.data());
    ::_exit(121);
  }
  Cost cost;
  int status = 0;
  rusage used{};
  ::wait4(child, &status, 0, &used);  // stopped behind the exec
  if (!WIFSTOPPED(status)) return cost;
  cost.traced = ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) == 0;
  ::ptrace(PTRACE_CONT, child, nullptr, nullptr);
  while (::wait4(child, &status, 0, &used) == child && WIFSTOPPED(status)) {
    const bool ends = status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
    if (ends) cost.resident_mib = peak_of(child) / 1024;
    ::ptrace(PTRACE_CONT, child, nullptr, reinterpret_cast<void*>(static_cast<long>(ends ? 0 : WSTOPSIG(status))));
  }
  cost.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  const auto ms = [](const timeval& t) { return 1000.0 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1000; };
  cost.cpu_ms = ms(used.ru_utime) + ms(used.ru_stime);
  return cost;
}

// The median of several runs: of the processor's time, as other tests run meanwhile.
void expect_cheap(const std::vector<std::string>& arguments, double most_mib, double most_ms, int status = 0) {
  std::string text;
  for (const std::string& argument : arguments) text += argument + ' ';
  std::vector<double> times;
  for (int run = 0; run < 9; ++run) {
    const Cost cost = cost_of(arguments);
    if (!cost.traced) GTEST_SKIP() << "needs a machine where processes may be traced";
    ASSERT_EQ(cost.status, status) << text;
    ASSERT_GT(cost.resident_mib, 0) << text;
    EXPECT_LT(cost.resident_mib, most_mib) << text;
    times.push_back(cost.cpu_ms);
  }
  std::nth_element(times.begin(), times.begin() + 4, times.end());
  EXPECT_LT(times[4], most_ms) << text;
}

class Startup : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a sanitizer's memory and time are not the program's";
  }
};

TEST_F(Startup, HelpAndVersionTakeLittle) {
  expect_cheap({"--help"}, 20, 20);
  expect_cheap({"--version"}, 20, 20);
  for (const char* command : {"run", "op", "bench", "bench-op", "verify", "profile", "vae", "denoise", "devices"})
    expect_cheap({command, "--help"}, 20, 20);
  expect_cheap({"op", "--list"}, 20, 20);
  expect_cheap({"no-such-command"}, 20, 20, 2);
}

TEST_F(Startup, SmallWorkOnTheCpuTakesLittle) {
  TempFolder folder;
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("x", HostTensor({Shape{1, 3, 8, 8}, DType::f32}, std::vector<float>(192, 0.5F)));
  save_safetensors(folder.file("x.safetensors"), tensors);
  expect_cheap({"op", "silu", "--device", "cpu", "--in", folder.file("x.safetensors"), "--out", folder.file("y.safetensors")}, 20, 40);
  expect_cheap({"inspect", "quickstart", "--device", "cpu"}, 24, 60);
}

// CUDA's libraries are loaded when a command needs them.
TEST_F(Startup, LinksNoLibraryOfCuda) {
  TempFolder folder;
  if (std::system(("ldd '" + frieze_program() + "' >'" + folder.file("ldd") + "' 2>&1").c_str()) != 0) GTEST_SKIP() << "needs ldd";
  const std::string libraries = slurp(folder.file("ldd"));
  EXPECT_NE(libraries.find("libc.so"), std::string::npos) << libraries;
  for (const char* name : {"cublas", "cudnn", "libcuda", "nvrtc", "cupti"}) EXPECT_EQ(libraries.find(name), std::string::npos) << libraries;
}

}  // namespace
}  // namespace frieze::test

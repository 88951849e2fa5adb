// tools/gpu_check.sh and the script that writes its results, as far as they run without a GPU.
#include <gtest/gtest.h>

#include "tools/command.h"

namespace frieze::test {
namespace {

int run(const std::string& command, std::string& output) {
  const TempFolder folder;
  const int status = std::system((command + " >'" + folder.file("log") + "' 2>&1 </dev/null").c_str());
  output = slurp(folder.file("log"));
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(GpuResults, OfCannedLogs) {
  std::string output;
  if (run("python3 --version", output) != 0) GTEST_SKIP() << "needs python3";
  EXPECT_EQ(run("python3 '" + source_path("tests/tools/gpu_results_test.py") + "'", output), 0) << output;
}

TEST(GpuCheck, RefusesWrongOptionsAndMachinesWithoutAGpu) {
  const std::string script = "'" + source_path("tools/gpu_check.sh") + "'";
  std::string output;
  EXPECT_EQ(run(script + " --fast", output), 2);
  EXPECT_EQ(output, "gpu_check: unknown option '--fast', see --help\n");
  EXPECT_EQ(run(script + " --out", output), 2);
  EXPECT_EQ(output, "gpu_check: --out needs a folder\n");
  EXPECT_EQ(run(script + " --only everything", output), 2);
  EXPECT_EQ(output, "gpu_check: --only needs one of: tests sanitizers benches seeds soak\n");
  EXPECT_EQ(run(script + " --help", output), 0);
  EXPECT_NE(output.find("tools/gpu_check.sh [--quick] [--only PART]… [--out DIR]"), std::string::npos) << output;
  const TempFolder none;
  std::filesystem::create_symlink("/usr/bin/dirname", none.file("dirname"));
  EXPECT_EQ(run("PATH='" + none.path().string() + "' /bin/bash " + script, output), 2);
  EXPECT_EQ(output, "gpu_check: needs a GPU: nvidia-smi lists none\n");
}

}  // namespace
}  // namespace frieze::test

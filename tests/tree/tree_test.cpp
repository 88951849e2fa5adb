// The shape of the tree: who includes whom, file sizes, nothing of one machine. Each rule is also shown a file that breaks it.
#include "tree/rules.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace frieze::test {
namespace {

const std::string kRoot = FRIEZE_SOURCE_DIR;

// Files that git knows or would add, from the top; empty outside a repository.
std::vector<std::string> files_of_the_tree() {
  std::vector<std::string> paths;
  const std::string command = "git -C '" + kRoot + "' ls-files --cached --others --exclude-standard 2>/dev/null";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return paths;
  std::string text;
  std::array<char, 4096> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  if (::pclose(pipe) != 0) return paths;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string path = text.substr(begin, end - begin);
    if (std::filesystem::exists(kRoot + "/" + path)) paths.push_back(std::move(path));  // not those deleted but not yet committed
  }
  return paths;
}

std::string text_of(const std::string& path) {
  std::ifstream in(kRoot + "/" + path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

// Runs `rule` on every text file of the tree.
template <class Rule>
void expect_holds(Rule&& rule) {
  const auto paths = files_of_the_tree();
  if (paths.empty()) GTEST_SKIP() << "needs the git repository";
  EXPECT_GT(paths.size(), 100U);
  for (const std::string& path : paths) {
    const std::string text = text_of(path);
    if (text.find('\0') != std::string::npos) continue;  // pictures, tensors
    for (const std::string& wrong : rule(path, text)) ADD_FAILURE() << wrong;
  }
}

TEST(Tree, IncludesGoDownwardsAndCudaStaysInItsFolders) { expect_holds(include_violations); }
TEST(Tree, FilesAreShortAndHeadersSayWhatTheyAre) { expect_holds(shape_violations); }
TEST(Tree, NothingIsOfOneMachineOrUnfinished) { expect_holds(text_violations); }
TEST(Tree, TheTopLevelIsThatOfTheDesign) {
  const auto paths = files_of_the_tree();
  if (paths.empty()) GTEST_SKIP() << "needs the git repository";
  for (const std::string& wrong : top_level_violations(paths)) ADD_FAILURE() << wrong;
}

struct Include {
  const char *path, *line;
};
std::ostream& operator<<(std::ostream& out, const Include& i) { return out << i.path << ": " << i.line; }

TEST(TreeRules, RefuseIncludesInTheWrongDirection) {
  for (const Include& i : {Include{"core/a.h", "#include <frieze/layers/conv2d/conv2d.h>"},
                           {"core/a.cpp", "#include <frieze/graph/plan.h>"},
                           {"core/cuda/a.cu", "#include <frieze/graph/plan.h>"},
                           {"core/a.cpp", "# include \"models/quickstart.h\""},
                           {"layers/x/x.cpp", "#include <frieze/graph/session.h>"},
                           {"layers/x/x.h", "  #include <frieze/models/quickstart.h>"},
                           {"layers/x/x.cu", "#include \"tools/image/image.h\""},
                           {"graph/a.cpp", "#include <frieze/layers/pool/pool.h>"},
                           {"graph/cuda/a.cpp", "#include <frieze/models/quickstart.h>"},
                           {"models/a.h", "#include \"tools/frieze/commands.h\""},
                           {"models/a.cpp", "#include \"tests/support/parity.h\""},
                           {"tools/frieze/a.cpp", "#include \"tests/support/parity.h\""}}) {
    EXPECT_EQ(include_violations(i.path, std::string("\n") + i.line + "\n").size(), 1U) << i;
  }
}

TEST(TreeRules, RefuseCudaOutsideItsFolders) {
  for (const Include& i : {Include{"core/a.h", "#include <cuda_runtime.h>"},
                           {"core/a.cpp", "#include <cuda_runtime_api.h>"},
                           {"graph/session.h", "#include <cuda.h>"},
                           {"graph/a.cpp", "#include <frieze/core/cuda/kernel.h>"},
                           {"graph/a.h", "#include <frieze/graph/cuda/capture.h>"},
                           {"layers/x/x.h", "#include <cuda_bf16.h>"},
                           {"layers/x/x.cpp", "#include <frieze/core/cuda/launch.cuh>"},
                           {"layers/x/x.h", "#include <frieze/layers/x/cuda/x_kernels.h>"},
                           {"layers/x/x.cpp", "#include <cublasLt.h>"},
                           {"models/a.h", "#include <cooperative_groups.h>"},
                           {"models/a.cpp", "#include <cub/cub.cuh>"},
                           {"tools/frieze/run.cpp", "#include <frieze/core/cuda/handles.h>"},
                           {"tools/frieze/run.cpp", "#include \"tools/frieze/bench_kernels.h\""},
                           {"tools/frieze/gpu.h", "#include <cuda_runtime_api.h>"}}) {
    EXPECT_EQ(include_violations(i.path, std::string(i.line) + "\n").size(), 1U) << i;
  }
}

TEST(TreeRules, RefuseIncludesIntoOtherRooms) {
  for (const Include& i : {Include{"layers/shared/cuda/gemm.cpp", "#include <frieze/layers/conv2d/conv2d.h>"},
                           {"layers/shared/nest.h", "#include <frieze/layers/slice/slice.h>"},
                           {"layers/linear/linear.cu", "#include <frieze/layers/conv2d/cuda/conv2d_paths.h>"},
                           {"layers/linear/cuda/a.cpp", "#include <frieze/layers/conv2d/cudnn/cudnn_conv.h>"},
                           {"layers/conv2d/direct.cu", "#include <frieze/layers/rms_norm2d/cuda/norm_call.h>"},
                           {"graph/session.cpp", "#include <frieze/graph/report/memory_text.h>"},
                           {"graph/memory_plan.h", "#include <frieze/graph/report/text_table.h>"},
                           {"graph/cuda/executor.cpp", "#include <frieze/graph/report/memory_text.h>"},
                           {"graph/passes/fuse.cpp", "#include <frieze/graph/report/text_table.h>"},
                           {"core/cuda/a.cpp", "#include <cudnn_graph.h>"},
                           {"layers/conv2d/cuda/conv2d_paths.cpp", "#include <cudnn.h>"},
                           {"graph/cuda/a.cpp", "#include <cudnn_graph.h>"}}) {
    EXPECT_EQ(include_violations(i.path, std::string(i.line) + "\n").size(), 1U) << i;
  }
}

TEST(TreeRules, AllowWhatTheDesignAllows) {
  for (const Include& i : {Include{"core/cuda/a.cu", "#include <cuda_runtime.h>"},
                           {"core/a.h", "#include <frieze/core/tensor.h>"},
                           {"core/a.h", "#include <cstdint>"},
                           {"core/a.h", "// see #include <frieze/graph/plan.h>"},
                           {"layers/x/x.cu", "#include <frieze/core/cuda/launch.cuh>"},
                           {"layers/x/cuda/paths.cpp", "#include <frieze/layers/x/cuda/x_kernels.h>"},
                           {"layers/x/x.cpp", "#include <frieze/layers/activation/activation.h>"},
                           {"layers/x/x.cu", "#include <frieze/layers/shared/cuda/epilogue.cuh>"},
                           {"layers/x/x.cpp", "#include <frieze/layers/shared/matmul.h>"},
                           {"layers/shared/cuda/gemm.h", "#include <frieze/layers/shared/cuda/epilogue.h>"},
                           {"layers/x/cudnn/a.cpp", "#include <cudnn_graph.h>"},
                           {"layers/x/cudnn/a.cpp", "#include <frieze/layers/x/cuda/x_paths.h>"},
                           {"graph/report/a.cpp", "#include <frieze/graph/report/text_table.h>"},
                           {"graph/report/a.cpp", "#include <frieze/graph/verify.h>"},
                           {"graph/cuda/a.cpp", "#include <frieze/core/cuda/handles.h>"},
                           {"models/a.cpp", "#include <frieze/graph/session.h>"},
                           {"tools/frieze/gpu_cuda.cpp", "#include <cuda_runtime_api.h>"},
                           {"tools/frieze/bench_kernels.h", "#include <cuda_runtime_api.h>"},
                           {"tools/frieze/bench_op_cuda.cpp", "#include \"tools/frieze/bench_kernels.h\""},
                           {"tools/bench/baseline.cu", "#include <cuda_runtime_api.h>"},
                           {"tools/frieze/run.cpp", "#include \"tools/frieze/commands.h\""},
                           {"tests/graph/a.cpp", "#include <cuda_runtime_api.h>"}}) {
    const auto found = include_violations(i.path, std::string(i.line) + "\n");
    EXPECT_TRUE(found.empty()) << i << " -> " << found[0];
  }
}

TEST(TreeRules, SayFileAndLine) {
  EXPECT_EQ(include_violations("core/a.h", "#pragma once\n#include <frieze/graph/plan.h>\n"),
            std::vector<std::string>{"core/a.h:2: core must not include graph/plan.h"});
}

TEST(TreeRules, RefuseLongFilesAndHeadersWithoutDocstring) {
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "// a line\n";
    return text;
  };
  EXPECT_TRUE(shape_violations("core/a.cpp", lines(500)).empty());
  EXPECT_TRUE(shape_violations("tools/results/gpu.json", lines(501)).empty());
  EXPECT_EQ(shape_violations("core/a.cpp", lines(501)).size(), 1U);
  EXPECT_EQ(shape_violations("tools/a.py", lines(501)).size(), 1U);
  EXPECT_TRUE(shape_violations("core/a.h", "#pragma once\n/// What it is.\n").empty());
  EXPECT_EQ(shape_violations("core/a.h", "#pragma once\n#include <cstdint>\n").size(), 1U);
  EXPECT_EQ(shape_violations("core/a.cuh", "/// What it is.\n").size(), 1U);
}

TEST(TreeRules, RefusePathsOfOneMachineAndUnfinishedWork) {
  const std::string slash = "/";  // in pieces, as this file is checked too
  for (const std::string& text :
       {"cd " + slash + "home/somebody/frieze", "x = \"" + slash + "root/frieze\"", "PATH=" + slash + "usr/local/mine/bin",
        slash + "opt/mine/tool", slash + "work/frieze", "open('" + slash + "Users/me/x')", std::string("int a;  // TO") + "DO: later",
        std::string("<<<<<<< ") + "HEAD", std::string(">>>>>>> ") + "branch"}) {
    EXPECT_EQ(text_violations("core/a.cpp", text + "\n").size(), 1U) << text;
  }
  for (const char* text : {"// the first reads, the rest work/home", "/dev/null", "/proc/self/exe", "PATH=/usr/local/cuda/bin",
                           "/opt/nvidia/x", "#!/usr/bin/env bash", "a == b", "=====\n"}) {
    EXPECT_TRUE(text_violations("core/a.cpp", text).empty()) << text;
  }
}

TEST(TreeRules, RefuseUnknownTopLevelEntries) {
  EXPECT_TRUE(top_level_violations({"core/a.h", "README.md", ".ci/run"}).empty());
  EXPECT_EQ(top_level_violations({"core/a.h", "NOTES.md", "python/a.py", "python/b.py"}),
            (std::vector<std::string>{"NOTES.md: not in the design's top level", "python: not in the design's top level"}));
}

}  // namespace
}  // namespace frieze::test

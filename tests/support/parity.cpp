#include "support/parity.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include <frieze/core/error.h>
#include "support/parity_record.h"
#include "testing/kernel_watch.h"

namespace frieze::test {
namespace {

struct Worst {
  double share = 0;
  double max_ulp = 0;
  double excess = 0;
  int cases = 0, failed = 0;
  std::string where, excess_where;
};

struct Records {
  std::mutex mutex;
  std::string device;
  std::map<std::pair<std::string, DType>, Worst> worst;
};

Records& records() {
  static Records all;
  return all;
}

// Strings here are type names, case descriptions and GPU names: quotes and backslashes are all that could need escaping.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// JSON has no infinity; a share past every number is written as the largest one.
double finite(double v) { return std::isfinite(v) ? v : std::numeric_limits<double>::max(); }

void write_results(const std::filesystem::path& folder, const Records& all) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").filename().string();
  int cases = 0, failed = 0;
  double share = 0;
  std::ofstream out(folder / ("parity_" + program + ".json"));
  out << "{\n  \"executable\": " << quoted(program) << ",\n  \"device\": " << quoted(all.device) << ",\n  \"layers\": [";
  const char* separator = "\n";
  for (const auto& [key, w] : all.worst) {
    out << separator << "    {\"layer\": " << quoted(key.first) << ", \"dtype\": \"" << key.second
        << "\", \"worst_share\": " << finite(w.share) << ", \"worst_ulp\": " << finite(w.max_ulp)
        << ", \"worst_excess\": " << finite(w.excess) << ", \"excess_case\": " << quoted(w.excess_where) << ", \"cases\": " << w.cases
        << ", \"failed\": " << w.failed << ", \"worst_case\": " << quoted(w.where) << "}";
    separator = ",\n";
    cases += w.cases;
    failed += w.failed;
    share = std::max(share, w.share);
  }
  out << "\n  ],\n  \"worst_share\": " << finite(share) << ",\n  \"cases\": " << cases << ",\n  \"failed\": " << failed << "\n}\n";
  out.close();
  if (!out) ADD_FAILURE() << "cannot write the parity results into " << folder;
}

class Summary final : public ::testing::Environment {
 public:
  void TearDown() override {
    const std::lock_guard lock(records().mutex);
    for (const auto& [key, w] : records().worst) {
      std::printf("parity %-16s %-4s %4d cases, worst share of budget %.3f (%.2f ulp), without the store %.3f, at %s%s\n",
                  key.first.c_str(), std::string(name(key.second)).c_str(), w.cases, w.share, w.max_ulp, w.excess, w.where.c_str(),
                  w.failed > 0 ? "  FAILED" : "");
    }
    if (const char* folder = std::getenv("FRIEZE_RESULTS_DIR"); folder != nullptr && *folder != '\0') write_results(folder, records());
  }
};

class KernelList final : public ::testing::Environment {
 public:
  void TearDown() override {
    const std::vector<std::string> kernels = launched_kernels();
    if (each_kernel_once()) std::printf("%zu kernels, on %zu paths\n", kernels.size(), launched_paths());
    const char* folder = std::getenv("FRIEZE_RESULTS_DIR");
    if (folder == nullptr || *folder == '\0') return;
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").filename().string();
    std::ofstream out(std::filesystem::path(folder) / ("kernels_" + program + ".txt"));
    for (const std::string& kernel : kernels) out << kernel << '\n';
    out.close();
    if (!out) ADD_FAILURE() << "cannot write the list of kernels into " << folder;
  }
};

// GoogleTest owns and deletes them.
[[maybe_unused]] const ::testing::Environment* const kSummary = ::testing::AddGlobalTestEnvironment(new Summary);
[[maybe_unused]] const ::testing::Environment* const kKernelList = ::testing::AddGlobalTestEnvironment(new KernelList);

}  // namespace

void record_parity(std::string_view layer, DType dtype, std::string_view device, const ParityCase& c, const ParityReport& report,
                   bool passed) {
  const std::lock_guard lock(records().mutex);
  if (!device.empty()) records().device = device;
  Worst& w = records().worst[{std::string(layer), dtype}];
  ++w.cases;
  if (!passed) ++w.failed;
  if (w.excess_where.empty() || report.excess > w.excess) {
    w.excess = report.excess;
    w.excess_where = describe(c);
  }
  if (w.where.empty() || !(report.share <= w.share)) {
    w.share = report.share;
    w.max_ulp = report.max_ulp;
    w.where = describe(c);
  }
}

ParityReport expect_parity(const Layer& layer, const ParityCase& c) {
  ParityReport report = check_parity(layer, c);
  if (!report.skipped.empty()) report.failures.push_back(concat_text(layer.type_name(), " on ", describe(c), ": ", report.skipped));
  for (const std::string& failure : report.failures) ADD_FAILURE() << failure;
  if (report.compared || !report.ok()) record_parity(layer.type_name(), c.dtype, report.device, c, report, report.ok());
  return report;
}

}  // namespace frieze::test

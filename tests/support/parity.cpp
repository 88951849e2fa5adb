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
#include <frieze/core/random.h>
#include "support/parity_record.h"

namespace frieze::test {
namespace {

std::uint64_t mix(std::uint64_t key) { return SplitMix64{key}(); }

// Twelve uniform numbers sum to variance 1 (Irwin-Hall). Integer arithmetic, so the same on every machine; libm is not.
double standard_normal(std::uint64_t key) {
  std::int64_t sum = 0;
  for (std::uint64_t draw = 0; draw < 3; ++draw) {
    const std::uint64_t bits = mix(key * 3 + draw);
    for (int part = 0; part < 4; ++part) sum += static_cast<std::int64_t>((bits >> (16 * part)) & 0xFFFF);
  }
  return (static_cast<double>(sum) - 6 * 65535.0) / 65536.0;
}

double special_value(std::uint64_t hash, double otherwise) {
  switch (hash % 48) {
    case 0: return std::numeric_limits<double>::quiet_NaN();
    case 1: return std::numeric_limits<double>::infinity();
    case 2: return -std::numeric_limits<double>::infinity();
    default: return otherwise;
  }
}

}  // namespace

std::vector<float> random_values(std::size_t count, std::uint64_t seed, Fill fill, DType dtype, std::int64_t channels) {
  const std::uint64_t stream = mix(seed) | 1U;
  const std::size_t pixels = std::max<std::size_t>(1, count / static_cast<std::size_t>(std::max<std::int64_t>(channels, 1)));
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t key = stream + i * SplitMix64::kStep;
    const std::uint64_t hash = mix(key ^ 0x5851F42D4C957F2DULL);
    const double sign = (hash >> 60) % 2 == 0 ? 1 : -1;
    double v = 0;
    switch (fill) {
      case Fill::normal: v = standard_normal(key); break;
      case Fill::zeros: break;
      case Fill::one_hot: {
        const std::uint64_t set = mix(stream + i % pixels) % static_cast<std::uint64_t>(std::max<std::int64_t>(channels, 1));
        v = i / pixels == set ? 1.5 : 0;
        break;
      }
      case Fill::constant: v = 0.75; break;
      case Fill::huge: v = sign * max_finite(dtype); break;
      case Fill::subnormal: v = sign * static_cast<double>(1 + hash % 4) * min_subnormal(dtype); break;
      case Fill::mixed: v = standard_normal(key) * (i % 7 == 0 ? 1000 : 1) * (i % 5 == 0 ? 0.001 : 1); break;
      case Fill::special: v = special_value(hash, standard_normal(key)); break;
    }
    values[i] = round_to(dtype, v);
  }
  return values;
}

ParityReport to_report(const Difference& d) {
  ParityReport report;
  report.max_abs = d.max_abs;
  report.max_rel = d.max_rel;
  report.nmse = d.nmse;
  report.max_ulp = d.max_ulp;
  report.share = d.share;
  report.excess = d.excess;
  report.worst_index = d.worst_index;
  return report;
}

ParityReport compare(std::span<const float> got, std::span<const float> expected, DType dtype, const ErrorBudget& budget) {
  return to_report(difference(got, expected, dtype, budget));
}

std::string describe(const ParityCase& c) {
  constexpr const char* kFills[] = {"normal", "zeros", "one_hot", "constant", "huge", "subnormal", "mixed", "special"};
  std::string text;
  for (const Shape& shape : c.inputs) text += to_string(shape) + ' ';
  text += concat_text(c.dtype, ' ', c.format, ' ', kFills[static_cast<int>(c.fill)]);
  for (const EpilogueOp& op : c.epilogue) {
    text += op.kind == EpilogueOp::Kind::add   ? " +add"
            : op.kind == EpilogueOp::Kind::mul ? " +mul"
                                               : " +" + std::string(name(op.activation));
  }
  if (c.misalign != 0) text += " misaligned by " + std::to_string(c.misalign);
  if (c.padded_strides) text += " padded strides";
  if (c.in_place) text += " in place";
  return text;
}

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

// GoogleTest owns and deletes it.
[[maybe_unused]] const ::testing::Environment* const kSummary = ::testing::AddGlobalTestEnvironment(new Summary);

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

}  // namespace frieze::test

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/core/random.h>
#include <frieze/testing/parity.h>

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

ParityReport compare(std::span<const float> got, std::span<const float> expected, DType dtype, const ErrorBudget& budget) {
  return {difference(got, expected, dtype, budget)};
}

std::string describe(const ParityCase& c) {
  constexpr const char* kFills[] = {"normal", "zeros", "one_hot", "constant", "huge", "subnormal", "mixed", "special"};
  std::string text;
  for (const Shape& shape : c.inputs) text += to_string(shape) + ' ';
  text += concat_text(c.dtype, ' ', c.format, ' ', c.values.empty() ? kFills[static_cast<int>(c.fill)] : "given values");
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

std::ostream& operator<<(std::ostream& out, const ParityReport& report) {
  for (const std::string& failure : report.failures) out << failure << '\n';
  if (!report.ok()) return out;
  out << "passed";
  if (report.referenced) out << ", the reference at " << report.reference_share << " of its budget";
  if (!report.skipped.empty()) return out << ", the kernel skipped: " << report.skipped << '\n';
  return out << ", the kernel at " << report.share << " of its budget (" << report.max_ulp << " ulp): " << report.describe << '\n';
}

}  // namespace frieze::test

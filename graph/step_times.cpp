#include <frieze/graph/step_times.h>

#include <algorithm>

namespace frieze {

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t quarter = values.size() / 4, end = values.size() - quarter;
  double sum = 0;
  for (std::size_t i = quarter; i < end; ++i) sum += values[i];
  return {sum / static_cast<double>(end - quarter), values[quarter], values[end - 1]};
}

double DeviceRates::copy_us(double bytes) const {
  if (copies.empty()) return 0;
  const auto above = std::find_if(copies.begin(), copies.end(), [&](const Copy& c) { return c.bytes >= bytes; });
  if (above == copies.begin()) return above->us;  // smaller ones are all latency
  if (above == copies.end()) return copies.back().us * bytes / copies.back().bytes;
  const Copy &low = above[-1], &high = above[0];
  return low.us + (high.us - low.us) * (bytes - low.bytes) / (high.bytes - low.bytes);
}

}  // namespace frieze

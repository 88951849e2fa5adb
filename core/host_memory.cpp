#include <frieze/core/host_memory.h>

#include <sys/sysinfo.h>

#include <cstdio>
#include <limits>

namespace frieze {

std::int64_t machine_memory() {
  static const std::int64_t bytes = [] {
    struct sysinfo info {};
    if (sysinfo(&info) != 0) return std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(info.totalram + info.totalswap) * static_cast<std::int64_t>(info.mem_unit);
  }();
  return bytes;
}

std::string readable_bytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; amount >= 1024 && unit + 1 < std::size(kUnits); ++unit) amount /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", amount, kUnits[unit]);
  return text;
}

}  // namespace frieze

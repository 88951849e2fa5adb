#pragma once
/// Random numbers that are the same on every machine, on hosts and in kernels.
#include <cstdint>

namespace frieze {

/// SplitMix64 (Steele, Lea, Flood 2014). The state is a counter: any number of the sequence can be had without those before it.
struct SplitMix64 {
  static constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ULL;
  std::uint64_t state = 0;

  constexpr std::uint64_t operator()() { return mixed(state += kStep); }
  /// What the i-th next call would return, counted from 0.
  constexpr std::uint64_t at(std::uint64_t i) const { return mixed(state + (i + 1) * kStep); }

 private:
  static constexpr std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
};

}  // namespace frieze

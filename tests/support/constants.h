#pragma once
/// Values that many tests feed, under one name: tests are also compiled several files at a time.
#include <limits>

namespace frieze::test {

inline constexpr float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace frieze::test

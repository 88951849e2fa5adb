#pragma once
/// Integer arithmetic that host code and kernels share.
#include <type_traits>

namespace frieze {

/// a / b, rounded up, in the type that a + b has; a >= 0, b > 0, and a + b does not overflow.
template <class A, class B>
constexpr std::common_type_t<A, B> ceil_div(A a, B b) {
  using T = std::common_type_t<A, B>;
  return (static_cast<T>(a) + static_cast<T>(b) - 1) / static_cast<T>(b);
}

/// The least multiple of `step` that is at least v; as above.
template <class A, class B>
constexpr std::common_type_t<A, B> round_up(A v, B step) {
  return ceil_div(v, step) * step;
}

}  // namespace frieze

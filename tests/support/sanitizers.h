#pragma once
/// Whether this is a build under AddressSanitizer, whose memory and time are not the program's.

#if defined(__SANITIZE_ADDRESS__)
#define FRIEZE_ADDRESS_SANITIZER 1  // g++
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FRIEZE_ADDRESS_SANITIZER 1  // clang
#endif
#endif
#ifndef FRIEZE_ADDRESS_SANITIZER
#define FRIEZE_ADDRESS_SANITIZER 0
#endif

namespace frieze::test {
inline constexpr bool kSanitized = FRIEZE_ADDRESS_SANITIZER != 0;
}  // namespace frieze::test

#pragma once
/// Arrays in host memory that go into a port or come out of it: HostValues, HostBuffer, Pixels.
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <type_traits>

#include <frieze/core/half.h>

namespace frieze FRIEZE_API {

/// 8-bit pictures as decoders and cameras give them: N pictures of H rows of W pixels of C bytes, channels interleaved. Byte k means the
/// value k * scale + offset, computed in double: with the default [0,1], and k/255 exactly as float division gives it. Back, a value v
/// becomes the byte nearest to (v - offset) * (1 / scale), ties to even, within 0 and 255; NaN becomes 0.
template <class Byte>
struct PixelArray {
  std::span<Byte> values;
  double scale = 1.0 / 255, offset = 0;
};
using Pixels = PixelArray<const std::uint8_t>;
using PixelBuffer = PixelArray<std::uint8_t>;

enum class HostType : std::uint8_t { u8, f16, bf16, f32, i32, i64 };
/// Bytes of one element.
constexpr std::size_t size_of(HostType t) {
  return t == HostType::u8 ? 1 : t == HostType::f16 || t == HostType::bf16 ? 2 : t == HostType::i64 ? 8 : 4;
}

template <class T, class... Others>
inline constexpr bool kIsOneOf = (std::is_same_v<T, Others> || ...);
template <class T>
inline constexpr bool kIsHostElement = kIsOneOf<T, std::uint8_t, f16, bf16, float, std::int32_t, std::int64_t>;
template <class T>
constexpr HostType host_type() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return HostType::u8;
  if constexpr (std::is_same_v<T, f16>) return HostType::f16;
  if constexpr (std::is_same_v<T, bf16>) return HostType::bf16;
  if constexpr (std::is_same_v<T, std::int32_t>) return HostType::i32;
  if constexpr (std::is_same_v<T, std::int64_t>) return HostType::i64;
  return HostType::f32;
}
/// Vectors, spans and arrays of u8, f16, bf16, float, i32 or i64.
template <class R>
concept HostRange =
    std::ranges::contiguous_range<R> && std::ranges::sized_range<R> && kIsHostElement<std::remove_cv_t<std::ranges::range_value_t<R>>>;

/// An array that is written; owns nothing, and is made of what it stands for where a function takes one.
struct HostBuffer {
  void* data = nullptr;
  std::size_t count = 0;
  HostType type = HostType::f32;
  bool interleaved = false;  ///< the order N,H,W,C, and not N,C,H,W
  double scale = 1, offset = 0;

  HostBuffer() = default;
  template <HostRange R>
  requires(!std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>)
      HostBuffer(R&& values)  // NOLINT: implicit on purpose
      : data(std::ranges::data(values)), count(std::ranges::size(values)), type(host_type<std::ranges::range_value_t<R>>()) {}
  HostBuffer(PixelBuffer pixels)  // NOLINT: implicit on purpose
      : data(pixels.values.data()),
        count(pixels.values.size()),
        type(HostType::u8),
        interleaved(true),
        scale(pixels.scale),
        offset(pixels.offset) {}
};

/// The same, only read.
struct HostValues {
  const void* data = nullptr;
  std::size_t count = 0;
  HostType type = HostType::f32;
  bool interleaved = false;
  double scale = 1, offset = 0;

  HostValues() = default;
  template <HostRange R>
  HostValues(const R& values)  // NOLINT: implicit on purpose
      : data(std::ranges::data(values)),
        count(std::ranges::size(values)),
        type(host_type<std::remove_cv_t<std::ranges::range_value_t<R>>>()) {}
  HostValues(Pixels pixels)  // NOLINT: implicit on purpose
      : data(pixels.values.data()),
        count(pixels.values.size()),
        type(HostType::u8),
        interleaved(true),
        scale(pixels.scale),
        offset(pixels.offset) {}
};

}  // namespace FRIEZE_API

#include <frieze/graph/port_values.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>

namespace frieze {
namespace {

constexpr std::int64_t kGrain = 1 << 16;  // elements that are worth a thread of their own

template <class From, class To>
struct Convert {
  To operator()(From v) const {
    if constexpr (std::is_same_v<From, To> || std::is_integral_v<From>)
      return static_cast<To>(v);
    else
      return static_cast<To>(static_cast<float>(v));
  }
};

// Pairs that Port lets through.
template <class From, class To>
inline constexpr bool kConverts = std::is_integral_v<From> == std::is_integral_v<To>;

template <class To>
struct FromByte {
  std::array<To, 256> value{};
  FromByte(const HostValues& pixels, DType dtype) {
    for (int k = 0; k < 256; ++k) store_element(dtype, value.data(), static_cast<std::size_t>(k), value_of(pixels, k));
  }
  To operator()(std::uint8_t k) const { return value[k]; }
};

template <class From>
struct ToByte {
  double per_unit = 1, offset = 0;  // bytes
  explicit ToByte(const HostBuffer& pixels) : per_unit(1 / pixels.scale), offset(pixels.offset) {}
  std::uint8_t operator()(From v) const {
    // In this order NaN becomes 0. The sum keeps no place behind the point: it rounds to nearest even.
    const double k = std::min(255.0, std::max(0.0, (static_cast<double>(static_cast<float>(v)) - offset) * per_unit));
    return static_cast<std::uint8_t>(static_cast<int>((k + 0x1p52) - 0x1p52));
  }
};

// Blocks of pixels and channels, so that neither side is walked with long strides for long.
template <class From, class To, class F>
void transposed(const From* from, To* to, const Reorder& r, const F& f) {
  constexpr std::int64_t kPixels = 128, kChannels = 16;
  const std::int64_t blocks = ceil_div(r.pixels, kPixels), plane = r.channels * r.pixels;
  const auto some = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t b = first; b < last; ++b) {
      const From* in = from + b / blocks * plane;
      To* out = to + b / blocks * plane;
      const std::int64_t p0 = b % blocks * kPixels, p1 = std::min(p0 + kPixels, r.pixels);
      for (std::int64_t c0 = 0; c0 < r.channels; c0 += kChannels) {
        const std::int64_t c1 = std::min(c0 + kChannels, r.channels);
        if (r.mode == Reorder::Mode::to_packed && std::is_same_v<To, f16>) {
          // Rounding to f16 one by one costs more than a second way over the values.
          for (std::int64_t c = c0; c < c1; ++c) {
            std::array<To, kPixels> row;
            for (std::int64_t p = p0; p < p1; ++p) row[static_cast<std::size_t>(p - p0)] = f(in[c * r.pixels + p]);
            for (std::int64_t p = p0; p < p1; ++p) out[p * r.channels + c] = row[static_cast<std::size_t>(p - p0)];
          }
        } else if (r.mode == Reorder::Mode::to_packed) {
          for (std::int64_t p = p0; p < p1; ++p)
            for (std::int64_t c = c0; c < c1; ++c) out[p * r.channels + c] = f(in[c * r.pixels + p]);
        } else {
          for (std::int64_t c = c0; c < c1; ++c)
            for (std::int64_t p = p0; p < p1; ++p) out[c * r.pixels + p] = f(in[p * r.channels + c]);
        }
      }
    }
  };
  const std::int64_t all = r.images * blocks;
  if (r.images * plane <= kGrain) return some(0, all);
  parallel_for(all, some, std::max<std::int64_t>(1, kGrain / (kPixels * r.channels)));
}

template <class From, class To, class F>
void move_values(const void* from, void* to, const Reorder& r, const F& f) {
  const auto* in = static_cast<const From*>(from);
  auto* out = static_cast<To*>(to);
  const std::int64_t count = r.images * r.channels * r.pixels;
  if (count == 0) return;
  if (r.mode != Reorder::Mode::none) return transposed(in, out, r, f);
  const auto range = [&](std::int64_t first, std::int64_t last) {
    if constexpr (std::is_same_v<F, Convert<From, From>>) {
      std::memcpy(out + first, in + first, static_cast<std::size_t>(last - first) * sizeof(From));
    } else {
      for (std::int64_t i = first; i < last; ++i) out[i] = f(in[i]);
    }
  };
  if (count <= kGrain) return range(0, count);
  parallel_for(count, range, kGrain);
}

template <class Body>
void with_type(DType type, Body&& body) {
  switch (type) {
    case DType::f32: return body(float{});
    case DType::f16: return body(f16{});
    case DType::bf16: return body(bf16{});
    case DType::i32: return body(std::int32_t{});
    case DType::i64: return body(std::int64_t{});
  }
}

template <class Body>
void with_type(HostType type, Body&& body) {
  switch (type) {
    case HostType::f32: return body(float{});
    case HostType::f16: return body(f16{});
    case HostType::bf16: return body(bf16{});
    case HostType::u8: return body(std::uint8_t{});
    case HostType::i32: return body(std::int32_t{});
    case HostType::i64: return body(std::int64_t{});
  }
}

}  // namespace

HostValues read_only(const HostBuffer& buffer) {
  HostValues values;
  values.data = buffer.data;
  values.count = buffer.count;
  values.type = buffer.type;
  values.interleaved = buffer.interleaved;
  values.scale = buffer.scale;
  values.offset = buffer.offset;
  return values;
}

Reorder reorder(const Shape& shape, bool from_packed, bool to_packed) {
  if (from_packed == to_packed || same_layout(shape)) return {Reorder::Mode::none, 1, 1, shape.elements()};
  return {to_packed ? Reorder::Mode::to_packed : Reorder::Mode::to_planar, shape.n(), shape.c(), shape.h() * shape.w()};
}

bool same_bytes(const HostValues& values, const TensorSpec& spec) {
  const auto same_type = [&] {
    switch (spec.dtype) {
      case DType::f32: return values.type == HostType::f32;
      case DType::f16: return values.type == HostType::f16;
      case DType::bf16: return values.type == HostType::bf16;
      case DType::i32: return values.type == HostType::i32;
      case DType::i64: return values.type == HostType::i64;
    }
    return false;
  };
  return same_type() && (values.interleaved == is_packed(spec) || same_layout(spec.shape));
}

void write_values(const HostValues& from, void* to, const TensorSpec& spec) {
  const Reorder r = reorder(spec.shape, from.interleaved, is_packed(spec));
  with_type(spec.dtype, [&](auto port) {
    using To = decltype(port);
    with_type(from.type, [&](auto host) {
      using From = decltype(host);
      if constexpr (std::is_same_v<From, std::uint8_t>)
        move_values<From, To>(from.data, to, r, FromByte<To>(from, spec.dtype));
      else if constexpr (kConverts<From, To>)
        move_values<From, To>(from.data, to, r, Convert<From, To>());
    });
  });
}

void read_values(const void* from, const TensorSpec& spec, const HostBuffer& to) {
  const Reorder r = reorder(spec.shape, is_packed(spec), to.interleaved);
  with_type(spec.dtype, [&](auto port) {
    using From = decltype(port);
    with_type(to.type, [&](auto host) {
      using To = decltype(host);
      if constexpr (std::is_same_v<To, std::uint8_t> && !std::is_integral_v<From>)
        move_values<From, To>(from, to.data, r, ToByte<From>(to));
      else if constexpr (!std::is_same_v<To, std::uint8_t> && kConverts<From, To>)
        move_values<From, To>(from, to.data, r, Convert<From, To>());
    });
  });
}

}  // namespace frieze

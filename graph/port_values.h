#pragma once
/// Values of whole images between arrays of the caller's and the memory of a port. Internal to graph/.
#include <cstdint>

#include <frieze/core/tensor.h>
#include <frieze/graph/host_values.h>

namespace frieze {

/// Some images of a port that follow each other: they lie `offset` bytes behind the port's begin, `spec` is theirs.
struct PortPart {
  int value = -1;  ///< of the plan
  std::int64_t offset = 0;
  TensorSpec spec;

  std::size_t bytes() const { return static_cast<std::size_t>(spec.bytes()); }
};

/// The same array, to be read.
HostValues read_only(const HostBuffer& buffer);

/// True if the array holds just the bytes of a tensor of `spec`, so that nothing needs to be converted.
bool same_bytes(const HostValues& values, const TensorSpec& spec);

/// The value that byte k of `pixels` stands for, before it is rounded to a tensor's type.
inline double value_of(const HostValues& pixels, int k) { return static_cast<double>(k) * pixels.scale + pixels.offset; }

/// Converts into a contiguous host tensor of `spec`, which has as many elements as there are values. Numbers are rounded once to nearest
/// even; large arrays go over several threads.
void write_values(const HostValues& from, void* to, const TensorSpec& spec);
/// The way back. u8 takes the nearest of 0 to 255, see PixelArray.
void read_values(const void* from, const TensorSpec& spec, const HostBuffer& to);

/// How elements move between the order of an array and that of a tensor: `channels` planes of `pixels` each, or pixels that hold their
/// channels side by side. Both orders are the same where there is one channel, or one pixel.
struct Reorder {
  enum class Mode : std::uint8_t { none, to_packed, to_planar } mode = Mode::none;
  std::int64_t images = 1, channels = 1, pixels = 1;
};
Reorder reorder(const Shape& shape, bool from_packed, bool to_packed);
/// True if elements of the tensor lie in the order N,H,W,C.
inline bool is_packed(const TensorSpec& spec) { return spec.shape.rank() == 4 && spec.format == Format::nhwc; }

}  // namespace frieze

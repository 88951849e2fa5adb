#pragma once
/// Nest: the loops of an elementwise kernel over tensors of one shape and any strides, reduced to as few axes as possible.
/// Host arithmetic only; layers/shared/cuda/pointwise.h launches over it.
#include <array>
#include <cstdint>
#include <span>

#include <frieze/core/integers.h>
#include <frieze/core/tensor.h>

namespace frieze {

inline constexpr int kNestOperands = 4;

/// One loop; strides in elements, one per operand. A stride of 0 repeats.
struct NestAxis {
  std::int64_t extent = 1;
  std::array<std::int64_t, kNestOperands> stride{};
};

/// Loops over up to four operands, fastest first; at least one. `base` are the operands' offsets in elements.
struct Nest {
  int rank = 1;
  std::array<NestAxis, Shape::kMaxRank> axes{};
  std::array<std::int64_t, kNestOperands> base{};

  std::int64_t elements() const;
};

/// The loops over `views`, all of the shape of the first, ordered by the strides of `views[order]`; extents of 1 are
/// dropped, and axes that are one run of memory in every operand are merged: a contiguous tensor has one axis.
/// Throws ShapeError if the shapes differ, if there are none or more than four views, or if a stride is negative.
Nest collapse(std::span<const TensorView> views, std::size_t order = 0);

/// Division of numbers below 2^31 by one that the host knows: (n * magic / 2^32 + n) >> shift, a few instructions where a GPU has no
/// divider.
struct Divisor {
  std::uint32_t by = 1, magic = 1, shift = 0;
  Divisor() = default;
  explicit Divisor(std::uint32_t d) : by(d) {
    while ((std::uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<std::uint32_t>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - d)) / d + 1);
  }
};

/// A nest whose threads own `pack` neighbours along axis 0 (the last thread of a row what is left of it), as a kernel takes it.
template <int K>
struct ThreadNest {
  std::uint32_t threads = 0;
  int rank = 1;
  std::int64_t row = 1;                       ///< elements along axis 0
  std::uint32_t extent[Shape::kMaxRank]{};    ///< in threads
  Divisor divisor[Shape::kMaxRank]{};         ///< by the extents
  std::int64_t stride[Shape::kMaxRank][K]{};  ///< elements per step of a thread
  std::int64_t base[K]{};
};

/// Calls run(ThreadNest<K>) for pieces of `nest` of at most `most` threads each, which together cover it once: kernels count
/// threads in 32 bits, and only tensors past 2^31 packs need more than one piece.
template <int K, class Run>
void for_each_piece(const Nest& nest, std::int64_t pack, Run&& run, std::int64_t most = (std::int64_t{1} << 31) - 1) {
  std::array<std::int64_t, Shape::kMaxRank> steps{};
  std::size_t longest = 0;
  std::int64_t threads = 1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(nest.rank); ++i) {
    steps[i] = i == 0 ? ceil_div(nest.axes[i].extent, pack) : nest.axes[i].extent;
    if (steps[i] > steps[longest]) longest = i;
    threads *= steps[i];
  }
  if (threads > most && steps[longest] > 1) {
    const std::int64_t half = steps[longest] / 2 * (longest == 0 ? pack : 1);
    Nest front = nest, back = nest;
    front.axes[longest].extent = half;
    back.axes[longest].extent -= half;
    for (std::size_t k = 0; k < K; ++k) back.base[k] += half * nest.axes[longest].stride[k];
    for_each_piece<K>(front, pack, run, most);
    for_each_piece<K>(back, pack, run, most);
    return;
  }
  ThreadNest<K> piece;
  piece.threads = static_cast<std::uint32_t>(threads);
  piece.rank = nest.rank;
  piece.row = nest.axes[0].extent;
  for (std::size_t i = 0; i < static_cast<std::size_t>(nest.rank); ++i) {
    piece.extent[i] = static_cast<std::uint32_t>(steps[i]);
    piece.divisor[i] = Divisor(piece.extent[i]);
    for (std::size_t k = 0; k < K; ++k) piece.stride[i][k] = nest.axes[i].stride[k] * (i == 0 ? pack : 1);
  }
  for (std::size_t k = 0; k < K; ++k) piece.base[k] = nest.base[k];
  run(piece);
}

/// How many elements of `element_bytes` each a thread can move at once: the largest power of two up to 16 bytes that divides
/// every address and every stride but those of axis 0, which must be 1, or 0 where `repeats` (1 if they are not).
/// `data` are the operands' addresses.
std::int64_t pack_size(const Nest& nest, std::span<const std::uintptr_t> data, std::size_t element_bytes, bool repeats);

/// A copy whose one side interleaves what lies in `streams` separate runs on the other: pixel shuffle and unshuffle, nearest
/// upsampling. Element e of the interleaved side is element e / streams of stream e % streams.
struct Interleave {
  int streams = 0;  ///< 0: the nest is no such copy
  int shift = 0;    ///< stream j begins at (j mod 2^shift) * near + (j >> shift) * far
  std::int64_t near = 0, far = 0;
  Nest rest;  ///< the loops without the streams; axis 0 has stride `streams` on the interleaved side, 1 on the other
};
/// `nest` must be ordered by operand `woven`, the interleaved one of its two operands. Streams: 2, 4 or 16.
Interleave find_interleave(const Nest& nest, std::size_t woven, std::span<const std::uintptr_t> data, std::size_t element_bytes);

}  // namespace frieze

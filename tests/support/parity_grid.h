#pragma once
/// The shapes, types and placements that the parity test of every simple layer goes over.
#include <vector>

#include "support/parity.h"

namespace frieze::test {

inline constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};
inline constexpr DType kHalves[] = {DType::f16, DType::bf16};
inline constexpr Format kFormats[] = {Format::nchw, Format::nhwc};
inline constexpr Fill kFills[] = {Fill::normal, Fill::zeros,     Fill::one_hot, Fill::constant,
                                  Fill::huge,   Fill::subnormal, Fill::mixed,   Fill::special};
/// Operations of an epilogue.
inline constexpr EpilogueOp kAdd{EpilogueOp::Kind::add, Activation::none}, kMul{EpilogueOp::Kind::mul, Activation::none};
constexpr EpilogueOp act(Activation f) { return {EpilogueOp::Kind::activation, f}; }
/// Around packs of 16 bytes, warps and blocks.
inline constexpr std::int64_t kChannels[] = {1, 3, 31, 32, 33, 64, 96, 384, 1025};

/// Images of `channels`: one pixel, an odd number of pixels, a row of whole packs, a batch of 7.
inline std::vector<Shape> images(std::int64_t channels) {
  return {{1, channels, 1, 1}, {2, channels, 5, 7}, {1, channels, 3, 16}, {7, channels, 3, 1}};
}

/// Calls body(type, format) for all of them.
template <class Body>
void each_type_and_format(Body&& body) {
  for (const DType t : kTypes) {
    for (const Format f : kFormats) body(t, f);
  }
}

/// Placements of tensors that a layer takes besides contiguous and aligned ones.
struct Placements {
  bool strided = false;   ///< views of any strides
  bool in_place = false;  ///< the output over input 0
};

/// Calls body(case) with `c` as it is, off its alignment by 1 and 3 elements, and in the other placements that the layer takes.
template <class Body>
void each_placement(const ParityCase& c, const Placements& takes, Body&& body) {
  body(c);
  for (const std::int64_t elements : {1, 3}) {
    ParityCase moved = c;
    moved.misalign = elements;
    body(moved);
    moved.in_place = takes.in_place;
    if (takes.in_place) body(moved);
  }
  ParityCase other = c;
  other.in_place = takes.in_place;
  if (takes.in_place) body(other);
  other.padded_strides = takes.strided;
  if (takes.strided && takes.in_place) body(other);
  other.in_place = false;
  if (takes.strided) body(other);
}

}  // namespace frieze::test

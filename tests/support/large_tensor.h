#pragma once
/// Kernels over tensors of more than 2^31 elements, whose index arithmetic must not wrap: compared with the reference on bands
/// of rows, so that it takes little host memory and a second.
#include <string>
#include <vector>

#include "support/parity.h"

namespace frieze::test {

struct LargeCase {
  std::vector<Shape> inputs;  ///< images [N,C,H,W], all with the H and W of the first
  DType dtype = DType::f16;
  Format format = Format::nchw;
  std::int64_t halo = 0;  ///< rows above and below that an output row depends on
};

/// Fills the inputs with a pattern whose period divides no power of two, poisons the output, launches once, and compares output
/// rows at the start, on both sides of element 2^31, byte 2^31 and byte 2^32 of every tensor, and at the end, within the layer's budget
/// as parity.h does. The layer must compute each image for itself, and an output row from the input rows at its place and `halo` around
/// it; rows may be scaled by a whole number, up or down. `path`: what the kernel's line must contain. Skips the test, visibly, where
/// the device has too little free memory.
void expect_large(const Layer& layer, const LargeCase& c, const std::string& path = "");

/// The same for a mean over all pixels of one image: every sum is compared, of a tensor of zeros but where offsets pass 2^31 and at both
/// ends.
void expect_large_means(const Layer& pool, const LargeCase& c, const std::string& path = "");

/// 2^31 elements, as the shapes of such tests are checked against it.
constexpr std::int64_t kTwoTo31 = std::int64_t{1} << 31;

}  // namespace frieze::test

#include <gtest/gtest.h>

#include <vector>

#include <frieze/core/error.h>
#include <frieze/layers/shared/nest.h>

namespace frieze {
namespace {

using Addresses = std::vector<std::uintptr_t>;

TensorView view(const Shape& shape, Format format = Format::nchw, DType t = DType::f16) { return TensorView(nullptr, {shape, t, format}); }
TensorView view(const Shape& shape, const Strides& strides) { return TensorView(nullptr, shape, DType::f16, strides); }

Nest loops(const std::vector<TensorView>& views, std::size_t order = 0) { return collapse(views, order); }

// Does what the copy kernel does, thread by thread; every destination element must be written exactly once.
template <class Offset>
void expect_copies(const Nest& nest, std::int64_t pack, std::int64_t most, const TensorView& dst, Offset source_of) {
  std::vector<std::int64_t> got(static_cast<std::size_t>(dst.shape.elements()), -1);
  for_each_piece<2>(
      nest, pack,
      [&](const ThreadNest<2>& piece) {
        ASSERT_LE(static_cast<std::int64_t>(piece.threads), most);
        for (std::uint32_t thread = 0; thread < piece.threads; ++thread) {
          std::uint32_t i = thread;
          std::int64_t at[2] = {piece.base[0], piece.base[1]};
          std::int64_t left = piece.row;
          for (int axis = 0; axis < piece.rank; ++axis) {
            std::uint32_t step = i;
            if (axis + 1 < piece.rank) {
              step = i % piece.extent[axis];
              i /= piece.extent[axis];
            }
            if (axis == 0) left -= step * pack;
            for (int k = 0; k < 2; ++k) at[k] += step * piece.stride[axis][k];
          }
          for (std::int64_t j = 0; j < std::min(left, pack); ++j) {
            std::int64_t& slot = got.at(static_cast<std::size_t>(at[0] + j * nest.axes[0].stride[0]));
            EXPECT_EQ(slot, -1) << "written twice";
            slot = at[1] + j * nest.axes[0].stride[1];
          }
        }
      },
      most);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], source_of(static_cast<std::int64_t>(i))) << "element " << i;
}

TEST(NestTest, AContiguousTensorIsOneLoopInEitherFormat) {
  for (const Format format : {Format::nchw, Format::nhwc}) {
    const Nest nest = loops({view({2, 3, 5, 7}, format), view({2, 3, 5, 7}, format)});
    EXPECT_EQ(nest.rank, 1);
    EXPECT_EQ(nest.axes[0].extent, 210);
    EXPECT_EQ(nest.elements(), 210);
  }
}

TEST(NestTest, OneElementIsOneStepOfOneLoop) {
  const Nest nest = loops({view({1, 1, 1, 1}), view({1, 1, 1, 1})});
  EXPECT_EQ(nest.rank, 1);
  EXPECT_EQ(nest.elements(), 1);
  EXPECT_EQ(pack_size(nest, Addresses{256, 256}, 2, false), 1);
}

TEST(NestTest, LoopsFollowTheOrderOfTheChosenOperand) {
  const Nest by_nhwc = loops({view({2, 3, 5, 7}, Format::nhwc), view({2, 3, 5, 7})});
  EXPECT_EQ(by_nhwc.rank, 3);
  EXPECT_EQ(by_nhwc.axes[0].extent, 3);   // C
  EXPECT_EQ(by_nhwc.axes[1].extent, 35);  // H*W is one run in both
  const Nest by_nchw = loops({view({2, 3, 5, 7}, Format::nhwc), view({2, 3, 5, 7})}, 1);
  EXPECT_EQ(by_nchw.axes[0].extent, 35);
  EXPECT_EQ(by_nchw.axes[1].extent, 3);
}

TEST(NestTest, ARepeatedAxisMergesOnlyWithOtherRepeatedAxes) {
  // A gate [2,3,1,1] over an image: H and W repeat and merge, C and N step.
  const Nest nest = loops({view({2, 3, 5, 7}), view({2, 3, 5, 7}, {3, 1, 0, 0})});
  EXPECT_EQ(nest.rank, 2);
  EXPECT_EQ(nest.axes[0].extent, 35);
  EXPECT_EQ(nest.axes[0].stride[1], 0);
  EXPECT_EQ(nest.axes[1].extent, 6);
  EXPECT_EQ(nest.axes[1].stride[1], 1);
}

TEST(NestTest, RefusesWhatCannotBeLooped) {
  EXPECT_THROW(loops({view({2, 3}), view({3, 2})}), ShapeError);
  EXPECT_THROW(loops({}), ShapeError);
  EXPECT_THROW(loops({view({2, 3}), view({2, 3}), view({2, 3}), view({2, 3}), view({2, 3})}), ShapeError);
  EXPECT_THROW(loops({view({2, 3}), view({2, 3}, {-3, 1})}), ShapeError);
}

TEST(PackSizeTest, IsLimitedByAddressesStridesExtentsAnd16Bytes) {
  const Nest flat = loops({view({4, 100}), view({4, 100})});
  EXPECT_EQ(pack_size(flat, Addresses{256, 512}, 2, false), 8);
  EXPECT_EQ(pack_size(flat, Addresses{256, 512}, 4, false), 4);
  EXPECT_EQ(pack_size(flat, Addresses{256, 516}, 2, false), 2);
  EXPECT_EQ(pack_size(flat, Addresses{256, 514}, 2, false), 1);
  const Nest rows = loops({view({4, 100}), view({4, 100}, {204, 1})});
  EXPECT_EQ(pack_size(rows, Addresses{256, 512}, 2, false), 4) << "rows 204 elements apart";
  const Nest tiny = loops({view({1, 3}), view({1, 3})});
  EXPECT_EQ(pack_size(tiny, Addresses{256, 512}, 2, false), 2);
}

TEST(PackSizeTest, ARepeatedElementNeedsNoAlignmentWhereItIsAllowed) {
  const Nest gate = loops({view({1, 3, 8, 8}), view({1, 3, 8, 8}, {3, 1, 0, 0})});
  EXPECT_EQ(pack_size(gate, Addresses{256, 514}, 2, true), 8);
  EXPECT_EQ(pack_size(gate, Addresses{256, 514}, 2, false), 1);
}

TEST(PieceTest, ThreadsCoverEveryElementOnceWhateverTheLimit) {
  const TensorView dst = view({2, 3, 5, 7}, Format::nhwc), src = view({2, 3, 5, 7});
  const Nest nest = loops({dst, src});
  const auto source_of = [](std::int64_t i) {
    const std::int64_t c = i % 3, p = i / 3 % 35, n = i / 105;
    return n * 105 + c * 35 + p;
  };
  for (const std::int64_t most : {1000, 100, 7, 1}) expect_copies(nest, 1, most, dst, source_of);
}

TEST(PieceTest, PacksLeaveTheRestOfARowToItsLastThread) {
  const TensorView flat = view({1, 83});
  const Nest nest = loops({flat, flat});
  for (const std::int64_t most : {1000, 5, 1}) {
    for (const std::int64_t pack : {8, 4, 1}) {
      expect_copies(nest, pack, most, flat, [](std::int64_t i) { return i; });
    }
  }
}

TEST(PieceTest, CountsThreadsIn32BitsPast2To31) {
  const Shape shape{5, std::int64_t{1} << 31};
  const Nest nest = loops({view(shape), view(shape)});
  std::int64_t threads = 0, elements = 0;
  for_each_piece<2>(nest, 1, [&](const ThreadNest<2>& piece) {
    EXPECT_LT(piece.threads, std::uint32_t{1} << 31);
    EXPECT_EQ(piece.base[0], threads) << "pieces follow each other";
    threads += piece.threads;
    elements += piece.row;
  });
  EXPECT_EQ(threads, shape.elements());
  EXPECT_EQ(elements, shape.elements());
}

// [N,C,H,r,W,r] of a pixel shuffle from nchw planes: r planes make one row.
TEST(InterleaveTest, FindsTheStreamsOfAPixelShuffle) {
  const std::int64_t c = 6, h = 5, w = 16, r = 2;
  const Shape shape{1, c, h, r, w, r};
  const TensorView src = view(shape, {c * r * r * h * w, r * r * h * w, w, r * h * w, 1, h * w});
  const TensorView dst = view(shape, {c * r * r * h * w, r * r * h * w, r * r * w, r * w, r, 1});
  const Interleave plan = find_interleave(loops({dst, src}), 0, Addresses{256, 512}, 2);
  EXPECT_EQ(plan.streams, 2);
  EXPECT_EQ(plan.near, h * w);
  EXPECT_EQ(plan.rest.axes[0].extent, w);
  EXPECT_EQ(plan.rest.axes[0].stride[0], 2);
  EXPECT_EQ(plan.rest.axes[0].stride[1], 1);
  EXPECT_EQ(plan.rest.elements() * plan.streams, shape.elements());
  EXPECT_EQ(find_interleave(loops({dst, src}), 0, Addresses{256, 514}, 2).streams, 0) << "misaligned";
}

// The same from nhwc: the r*r streams of a pixel's channels go to r pixels of r rows.
TEST(InterleaveTest, FindsStreamsOverTwoAxes) {
  const std::int64_t c = 8, h = 3, w = 5, r = 2;
  const Shape shape{2, c, h, r, w, r};
  const TensorView src = view(shape, {h * w * c * 4, 4, w * c * 4, 2, c * 4, 1});
  const TensorView dst = view(shape, {h * w * c * 4, 1, 2 * w * r * c, w * r * c, r * c, c});
  const Interleave plan = find_interleave(loops({dst, src}, 1), 1, Addresses{256, 512}, 2);
  EXPECT_EQ(plan.streams, 4);
  EXPECT_EQ(plan.shift, 1);
  EXPECT_EQ(plan.near, c);
  EXPECT_EQ(plan.far, w * r * c);
  EXPECT_EQ(plan.rest.axes[0].extent, c);
}

TEST(InterleaveTest, RefusesRowsThatAreNoWholePacksAndPlainCopies) {
  const std::int64_t h = 5, w = 7, r = 2;
  const Shape shape{1, 1, h, r, w, r};
  const TensorView src = view(shape, {4 * h * w, 4 * h * w, w, r * h * w, 1, h * w});
  const TensorView dst = view(shape, {4 * h * w, 4 * h * w, 4 * w, 2 * w, 2, 1});
  EXPECT_EQ(find_interleave(loops({dst, src}), 0, Addresses{256, 512}, 2).streams, 0);
  const TensorView plain = view({2, 3, 8, 8});
  EXPECT_EQ(find_interleave(loops({plain, plain}), 0, Addresses{256, 512}, 2).streams, 0);
}

}  // namespace
}  // namespace frieze

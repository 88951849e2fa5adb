#include <frieze/layers/attention/attention.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/split/split.h>
#include "support/parity_grid.h"
#include "support/reference.h"

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/kernel.h>
#include <frieze/layers/attention/cuda/attention_call.h>
#endif

namespace frieze {
namespace {

using test::expect_parity;
using test::Fill;
using test::kHalves;
using test::kTypes;
using test::ParityCase;

constexpr const char* kChunks = "rows of scores in chunks";

// The path that contiguous tensors of these widths take here.
std::string path_of(DType t, const ParityCase& c) {
  const std::int64_t width = c.inputs[0][-1];
  if (t == DType::f32 || width > 512) return kChunks;
#if FRIEZE_WITH_CUDA
  const std::int64_t value_width = c.inputs[2][-1];
  cuda::AttentionCall call;
  call.width = static_cast<int>(width), call.value_width = static_cast<int>(value_width);
  call.q.row = call.k.row = width, call.v.row = value_width;
  if (c.inputs.size() == 4) call.mask_kind = cuda::MaskKind::run;
  if (cuda::takes_warpgroup_attention(t, call, cuda::device_info(0).compute_capability)) return "warp-group products";
#endif
  return "tensor-core tiles";
}

void run(const AttentionOptions& options, const ParityCase& c) {
  const ScaledDotProductAttention layer(options);
  const test::ParityReport report = expect_parity(layer, c);
  const std::string path = path_of(c.dtype, c);
  EXPECT_NE(report.describe.find(path), std::string::npos) << "ran: " << report.describe << "\nnot: " << path;
}

ParityCase tokens(std::int64_t n, std::int64_t heads, std::int64_t rows, std::int64_t keys, std::int64_t width, std::int64_t value_width,
                  DType t) {
  return {.inputs = {{n, heads, rows, width}, {n, heads, keys, width}, {n, heads, keys, value_width}}, .dtype = t};
}

TEST(AttentionGpu, Widths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t width : {1, 8, 16, 40, 41, 64, 72, 80, 96, 128, 160, 256, 320, 384, 512, 520, 640}) {
      run({}, tokens(1, 2, 70, 67, width, width, t));
    }
    for (const auto& [width, value_width] :
         {std::pair{64, 8}, {8, 64}, {40, 264}, {384, 64}, {64, 384}, {128, 512}, {512, 128}, {16, 1000}, {17, 3}}) {
      run({}, tokens(1, 2, 70, 67, width, value_width, t));
    }
  }
}

TEST(AttentionGpu, Lengths) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t width : {64, 128, 384}) {
      for (const std::int64_t length : {1, 3, 17, 63, 64, 65, 129, 1000}) {
        if (length == 1000 && width != 64) continue;  // the reference's time
        run({}, tokens(1, 2, length, length, width, width, t));
        run({.is_causal = true}, tokens(1, 2, length, length, width, width, t));
      }
      for (const auto& [rows, keys] : {std::pair{1, 1000}, {1000, 1}, {65, 200}, {129, 127}}) {
        run({}, tokens(1, 1, rows, keys, width, width, t));
        run({.is_causal = true}, tokens(1, 1, rows, keys, width, width, t));
      }
    }
    run({}, tokens(3, 12, 197, 197, 64, 64, t));
  }
}

// Blocks that go on to further rows and heads: more pieces than run at a time.
TEST(AttentionGpu, ManyPieces) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kHalves) {
    for (const auto& [width, keys] : {std::pair{64, 100}, {128, 300}, {256, 100}, {384, 40}, {512, 40}}) {
      if (t == DType::f16 && width > 64) continue;  // the reference's time
      run({}, tokens(4, 12, 577, keys, width, width, t));
      run({.is_causal = true}, tokens(4, 12, 577, keys, width, width, t));
    }
  }
}

TEST(AttentionGpu, RanksAndHeads) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    run({}, {.inputs = {{70, 40}, {67, 40}, {67, 40}}, .dtype = t});
    run({}, {.inputs = {{3, 70, 40}, {3, 67, 40}, {3, 67, 24}}, .dtype = t});
    run({}, {.inputs = {{2, 4, 70, 64}, {2, 1, 67, 64}, {1, 4, 67, 64}}, .dtype = t});
    run({.enable_gqa = true}, {.inputs = {{2, 6, 70, 64}, {2, 2, 67, 64}, {2, 3, 67, 128}}, .dtype = t});
    run({.is_causal = true, .enable_gqa = true}, {.inputs = {{2, 6, 130, 128}, {2, 1, 130, 128}, {2, 2, 130, 128}}, .dtype = t});
  }
}

TEST(AttentionGpu, Scales) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const double scale : {0.0, -0.125, 1.0, 30.0, 1e-30}) run({.scale = scale}, tokens(1, 2, 70, 130, 64, 64, t));
  }
}

TEST(AttentionGpu, MasksOfTheRunsType) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t width : {40, 64, 128, 384}) {
      for (const Shape& mask : {Shape{2, 3, 70, 67}, Shape{2, 1, 1, 67}, Shape{3, 70, 1}, Shape{70, 67}, Shape{67}, Shape{1, 1, 1, 1}}) {
        ParityCase c = tokens(2, 3, 70, 67, width, width, t);
        c.inputs.push_back(mask);
        run({}, c);
      }
    }
  }
}

TEST(AttentionGpu, Placements) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t width : {64, 41}) {
      test::each_placement(tokens(2, 2, 70, 67, width, width, t), {.strided = true}, [](const ParityCase& c) { run({}, c); });
      ParityCase masked = tokens(2, 2, 70, 67, width, width, t);
      masked.inputs.push_back({2, 1, 70, 67});
      test::each_placement(masked, {.strided = true}, [](const ParityCase& c) { run({}, c); });
    }
  }
}

TEST(AttentionGpu, Values) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const Fill fill : {Fill::zeros, Fill::one_hot, Fill::constant, Fill::subnormal}) {
      for (const std::int64_t width : {64, 384}) {
        ParityCase c = tokens(1, 2, 70, 130, width, width, t);
        c.fill = fill;
        run({}, c);
      }
    }
  }
}

// NaN and infinities in q and k make whole rows NaN or leave single keys without weight; in v they reach every row.
TEST(AttentionGpu, SpecialValues) {
  FRIEZE_NEEDS_GPU();
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr std::int64_t kRows = 70, kKeys = 130;
  for (const DType t : kTypes) {
    for (const std::int64_t width : {8, 64, 384}) {
      for (const float special : {kNan, kInfinity, -kInfinity}) {
        for (int where = 0; where < 3; ++where) {
          ParityCase c = tokens(1, 1, kRows, kKeys, width, width, t);
          for (int i = 0; i < 3; ++i) {
            const auto count = static_cast<std::size_t>(c.inputs[static_cast<std::size_t>(i)].elements());
            c.values.push_back(test::random_values(count, 5 + static_cast<std::uint64_t>(i), Fill::normal, t, 1));
            for (float& v : c.values.back()) v = round_to(t, i == 1 ? std::abs(v) : v);  // so that k's sign does not make NaN of infinities
          }
          c.values[static_cast<std::size_t>(where)][static_cast<std::size_t>(67 * width + 3)] = special;
          run({}, c);
        }
      }
    }
  }
}

// A compiled model against its reference; inputs called "mask" hold 0 and 1, or, of floats, 0 and -Inf.
VerifyReport verified(const test::FunctionModel::Function& f, const std::vector<InputSpec>& inputs, std::size_t steps) {
  const test::FunctionModel model(f);
  const Session net = compile(model, inputs, Device::cuda(), {.tune = false});
  EXPECT_EQ(net.plan().steps.size(), steps);
  VerifyOptions options;
  options.replays = 2;
  for (const InputSpec& input : inputs) {
    const auto count = static_cast<std::size_t>(input.shape.elements());
    std::vector<float> values = test::random_values(count, options.inputs.size() + 5, Fill::normal, DType::f16, 1);
    if (input.name == "mask") {
      for (std::size_t i = 0; i < count; ++i) {
        const bool seen = values[i] > -0.3F && i / static_cast<std::size_t>(input.shape[-1]) % 11 != 5;  // some rows see nothing
        values[i] = is_integer(input.dtype) ? (seen ? 1.0F : 0.0F) : (seen ? values[i] : -std::numeric_limits<float>::infinity());
      }
    }
    options.inputs.push_back(HostTensor({input.shape, DType::f32}, values).converted(input.dtype, Format::nchw));
  }
  return verify(net, options);
}

TEST(AttentionGpu, MasksOfOtherTypes) {
  FRIEZE_NEEDS_GPU();
  const auto check = [](DType t, std::int64_t width, DType mask_type, const Shape& mask) {
    const VerifyReport report = verified(
        [](const std::vector<Value>& x) { return std::vector<Value>{scaled_dot_product_attention(x[0], x[1], x[2], {.mask = x[3]})}; },
        {{"q", {2, 3, 33, width}, t}, {"k", {2, 3, 70, width}, t}, {"v", {2, 3, 70, width}, t}, {"mask", mask, mask_type}}, 1);
    EXPECT_LE(report.layers.at(0).isolated.share, 1) << report;
  };
  for (const DType t : kTypes) {
    for (const DType mask_type : {DType::i32, DType::i64, DType::f32, t}) {
      for (const Shape& mask : {Shape{2, 1, 33, 70}, Shape{3, 33, 70}, Shape{2, 1, 1, 70}, Shape{33, 70}}) check(t, 40, mask_type, mask);
    }
    for (const std::int64_t width : {128, 384}) check(t, width, DType::i32, {2, 1, 33, 70});
  }
}

// q, k and v as slices of one projection [N, L, 3, heads, width], read where they are.
TEST(AttentionGpu, SlicesOfOneProjection) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const auto& [heads, width] : {std::pair{12, 64}, {3, 128}, {1, 384}, {2, 40}, {3, 41}}) {
      const VerifyReport report = verified(
          [heads = heads, width = width](const std::vector<Value>& x) {
            const std::vector<Value> parts = split(permute(reshape(x[0], {2, 97, 3, heads, width}), {2, 0, 3, 1, 4}), 1, 0);
            const auto part = [&](std::size_t i) { return reshape(parts[i], {2, heads, 97, width}); };
            return std::vector<Value>{scaled_dot_product_attention(part(0), part(1), part(2))};
          },
          {{"qkv", {2, 97, 3 * heads * width}, t}}, 1);
      EXPECT_LE(report.layers.at(0).isolated.share, 1) << report;
    }
  }
}

// Tokens along the last axis, as an image's pixels in nchw: no row of q, k or v is a run of memory.
TEST(AttentionGpu, TokensOfAnImage) {
  FRIEZE_NEEDS_GPU();
  for (const DType t : kTypes) {
    for (const std::int64_t width : {40, 64, 384}) {
      const VerifyReport report = verified(
          [width](const std::vector<Value>& x) {
            const std::vector<Value> parts = chunk(reshape(x[0], {2, 3 * width, 11 * 13}), 3);
            const auto rows = [&](std::size_t i) { return transpose(parts[i], 1, 2); };
            return std::vector<Value>{transpose(scaled_dot_product_attention(rows(0), rows(1), rows(2)), 1, 2)};
          },
          {{"x", {2, 3 * width, 11, 13}, t}}, 1);
      EXPECT_LE(report.layers.at(0).isolated.share, 1) << report;
    }
  }
}

#if FRIEZE_WITH_CUDA
// wgmma is sm_90a's alone: newer GPUs do not run it.
TEST(AttentionKernel, WarpGroupsAreForComputeCapability90) {
  cuda::AttentionCall call;
  call.width = call.value_width = 64;
  call.q.row = call.k.row = call.v.row = 64;
  for (const int capability : {80, 86, 89, 100, 120}) EXPECT_FALSE(cuda::takes_warpgroup_attention(DType::bf16, call, capability));
  if (!cuda::takes_warpgroup_attention(DType::bf16, call, 90)) GTEST_SKIP() << "no code for sm_90a, or no driver";
  EXPECT_FALSE(cuda::takes_warpgroup_attention(DType::f32, call, 90));
  for (cuda::HeadsView cuda::AttentionCall::*x : {&cuda::AttentionCall::q, &cuda::AttentionCall::k, &cuda::AttentionCall::v}) {
    cuda::AttentionCall other = call;
    (other.*x).row = 68;
    EXPECT_FALSE(cuda::takes_warpgroup_attention(DType::bf16, other, 90)) << "rows of copies begin at multiples of 16 bytes";
    other = call;
    (other.*x).column = 2;
    EXPECT_FALSE(cuda::takes_warpgroup_attention(DType::bf16, other, 90));
    other = call;
    (other.*x).data = reinterpret_cast<const void*>(std::uintptr_t{8});
    EXPECT_FALSE(cuda::takes_warpgroup_attention(DType::bf16, other, 90));
  }
}

TEST(AttentionKernel, WorkspaceIsBounded) {
  cuda::AttentionCall call;
  for (const int length : {1, 64, 1000, 16384, 1 << 20}) {
    for (const int heads : {1, 7, 4096}) {
      call.rows = call.keys = length;
      call.heads = heads;
      EXPECT_LE(cuda::chunked_attention_workspace(call), std::size_t{32} << 20);
      EXPECT_GE(cuda::chunked_attention_workspace(call), static_cast<std::size_t>(length) * 4);
    }
  }
}
#endif

}  // namespace
}  // namespace frieze

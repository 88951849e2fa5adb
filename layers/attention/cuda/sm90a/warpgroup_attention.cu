#include <frieze/layers/attention/cuda/sm90a/warpgroup_attention.cuh>

#include <algorithm>

#include <frieze/layers/shared/cuda/tensor_map.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

// Chosen by time on an H200, bf16, 16 heads of 4096 tokens (384: one of 16384), TFLOP/s, beside a product of 8192 at 792:
//   64   one warp group a block, tiles of 80, three blocks a multiprocessor: 395; two groups and tiles of 128 380, three 389
//   128  tiles of 128: 616; of 176 605, of 112 585
//   256  tiles of 80: 685; of 64 651
//   384  tiles of 32, as sums take 192 registers of a thread, without turns: 567; with them 506; v in two parts, scores made twice, 475
//   512  v in two parts
using Width64 = AttentionPlan<1, 1, 1, 80, 1, 4, true>;
using Width128 = AttentionPlan<2, 1, 1, 128, 2, 5, true>;
using Width256 = AttentionPlan<4, 1, 1, 80, 2, 4, true>;
using Width384 = AttentionPlan<3, 2, 2, 32, 2, 10, false, false, false>;
using Width512 = AttentionPlan<4, 2, 1, 64, 2, 3, true, false>;

// Boxes of 64 columns x `box_rows` rows of one head. What all heads or images share has an extent of 1.
CUtensorMap heads_map(DType dtype, const HeadsView& x, int width, int rows, int heads, int n, int box_rows) {
  const auto step = [](std::int64_t elements) { return static_cast<cuuint64_t>(std::max<std::int64_t>(elements, 8)) * 2; };
  const cuuint64_t extents[4] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(rows),
                                 static_cast<cuuint64_t>(x.head == 0 ? 1 : heads / x.group), static_cast<cuuint64_t>(x.n == 0 ? 1 : n)};
  const cuuint64_t strides[3] = {step(x.row), step(x.head), step(x.n)};
  const cuuint32_t box[4] = {64, static_cast<cuuint32_t>(box_rows), 1, 1};
  return tensor_map(dtype, x.data, extents, strides, box);
}

template <class T, class Body>
void with_plan(const AttentionCall& call, Body&& body) {
  const int width = std::max(call.width, call.value_width);
  if (width <= 64) return body(&attention_rows_per_warpgroup<T, Width64>, Width64{});
  if (width <= 128) return body(&attention_rows_per_warpgroup<T, Width128>, Width128{});
  if (width <= 256) return body(&attention_rows_per_warpgroup<T, Width256>, Width256{});
  if (width <= 384) return body(&attention_rows_per_warpgroup<T, Width384>, Width384{});
  return body(&attention_rows_per_warpgroup<T, Width512>, Width512{});
}

template <class Body>
void with_kernel(DType dtype, const AttentionCall& call, Body&& body) {
  if (dtype == DType::f16) return with_plan<__half>(call, body);
  with_plan<__nv_bfloat16>(call, body);
}

}  // namespace

void launch_warpgroup_attention(DType dtype, const AttentionCall& call, int sm_count, cudaStream_t stream) {
  with_kernel(dtype, call, [&](auto* kernel, auto plan) {
    using P = decltype(plan);
    WarpgroupAttentionArgs f;
    f.call = call;
    f.q = heads_map(dtype, call.q, call.width, call.rows, call.heads, call.n, P::kRows);
    f.k = heads_map(dtype, call.k, call.width, call.keys, call.heads, call.n, P::kTile);
    f.v = heads_map(dtype, call.v, call.value_width, call.keys, call.heads, call.n, P::kTile);
    f.row_tiles = static_cast<unsigned>(ceil_div(call.rows, P::kRows));
    f.parts = static_cast<unsigned>(ceil_div(call.value_width, P::kValueColumns));
    const HeadsView& o = call.o;
    f.o_pairs = o.column == 1 && (o.n | o.head | o.row) % 2 == 0 && reinterpret_cast<std::uintptr_t>(o.data) % 4 == 0;
    // 2 * rows * keys * (width + value_width) flops a head; a block reads k and v once for its rows, from L2. H200: see above.
    const std::int64_t pieces = call.pairs() * f.row_tiles * f.parts;
    f.pieces = grid_of(pieces).x;
    // Causal rows differ in length: the hardware deals them out better.
    const std::int64_t blocks = call.causal ? pieces : std::min<std::int64_t>(pieces, std::int64_t{P::kBlocks} * sm_count);
    launch_kernel(kernel, grid_of(blocks), dim3(P::kThreads), P::kSharedBytes, stream, f);
  });
}

void preload_warpgroup_attention(DType dtype, const AttentionCall& call) {
  (void)require_tensor_maps();
  with_kernel(dtype, call, [](auto* kernel, auto) { preload(reinterpret_cast<const void*>(kernel)); });
}

}  // namespace frieze::cuda

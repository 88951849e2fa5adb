#include <frieze/layers/attention/cuda/fused_attention.cuh>

#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

using FusedKernel = void (*)(FusedArgs);

struct FusedChoice {
  FusedKernel kernel;
  int rows;  // of a block
};

// Two tiles of rows a warp read half as much shared memory a product, where registers and 99 KiB of shared memory allow.
template <class T>
FusedChoice choose(const AttentionCall& call) {
  const bool two_tiles = call.width <= 128 && call.rows > 64;
  if (call.value_width <= 64) {
    if (two_tiles) return {&attention_rows_per_block<T, 2, 1>, 128};
    return {&attention_rows_per_block<T, 1, 1>, 64};
  }
  if (call.value_width <= 128) {
    if (two_tiles) return {&attention_rows_per_block<T, 2, 2>, 128};
    return {&attention_rows_per_block<T, 1, 2>, 64};
  }
  return {&attention_rows_per_block<T, 1, kMostValueStages>, 64};
}

FusedChoice choose(DType dtype, const AttentionCall& call) {
  return dtype == DType::f16 ? choose<__half>(call) : choose<__nv_bfloat16>(call);
}

}  // namespace

void launch_fused_attention(DType dtype, const AttentionCall& call, cudaStream_t stream) {
  const FusedChoice choice = choose(dtype, call);
  FusedArgs f;
  f.call = call;
  f.row_tiles = static_cast<unsigned>(ceil_div(call.rows, choice.rows));
  f.parts = static_cast<unsigned>(ceil_div(call.value_width, kMostValueStages * kStageColumns));
  f.q_stages = ceil_div(call.width, kStageColumns);
  f.v_stages = ceil_div(call.value_width, kStageColumns);
  f.q_packs = call.q.packs(call.width);
  f.k_packs = call.k.packs(call.width);
  f.v_packs = call.v.packs(call.value_width);
  const HeadsView& o = call.o;
  f.o_pairs = o.column == 1 && (o.n | o.head | o.row) % 2 == 0 && reinterpret_cast<std::uintptr_t>(o.data) % 4 == 0;
  const std::size_t shared = static_cast<std::size_t>(f.q_stages) * static_cast<std::size_t>(choice.rows) * 128 + kRingStages * kStageBytes;
  // 2 * rows * keys * (width + value_width) flops a head, each tile of k and v read once for 64 or 128 rows: bound by the tensor cores, and
  // by shared memory, which a warp of 16 rows reads as fast as an A100 multiplies.
  // H200, bf16: 16 heads of 4096 tokens, 64 wide 418 us (164 TFLOP/s), 128 wide 778 us; one head of 16384 tokens, 384 wide 3460 us.
  const std::int64_t blocks = call.pairs() * f.row_tiles * f.parts;
  launch_kernel(choice.kernel, grid_of(blocks), dim3(kFusedThreads), shared, stream, f);
}

void preload_fused_attention(DType dtype, const AttentionCall& call) { preload(reinterpret_cast<const void*>(choose(dtype, call).kernel)); }

}  // namespace frieze::cuda

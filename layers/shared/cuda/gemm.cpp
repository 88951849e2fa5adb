#include <frieze/layers/shared/cuda/gemm.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/layers/shared/cuda/gemm_kernels.h>

namespace frieze::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

// Rows of one chunk: a multiple of 128, the rows of the libraries' tiles, which also keeps every chunk aligned.
std::int64_t rows_within(std::int64_t workspace, std::int64_t row_bytes, std::int64_t m) {
  if (row_bytes == 0) return m;
  return std::clamp<std::int64_t>(workspace / row_bytes / 128 * 128, 128, std::max<std::int64_t>(m, 128));
}

}  // namespace

Gemm::Prefix Gemm::library_prefix(DType dtype, std::span<const EpilogueOp> chain) {
  Prefix prefix;
  prefix.residual = !chain.empty() && chain[0].kind == EpilogueOp::Kind::add;
  const auto rest = chain.subspan(prefix.residual ? 1 : 0);
  if (rest.empty() || rest[0].kind != EpilogueOp::Kind::activation) return prefix;
  // cuBLASLt's tanh form is 5e-6 off: nothing in 16 bits, too much in f32.
  const Activation f = rest[0].activation;
  if (f == Activation::relu || (f == Activation::gelu_tanh && dtype != DType::f32)) prefix.activation = f;
  return prefix;
}

bool Gemm::library_takes(DType dtype, std::span<const EpilogueOp> chain) {
  return library_prefix(dtype, chain).count() == static_cast<int>(chain.size());
}

Gemm::Gemm(const GemmSpec& spec, const PrepareArgs& args) : spec_(spec) {
  if (spec_.ldy == 0) spec_.ldy = spec.n;
  const bool apart = spec_.ldy != spec.n;  // own passes over y take rows side by side
  check<CudaError>(!apart || args.epilogue.empty(), "a product whose rows lie apart takes no epilogue");
  preload_gemm_kernels(spec.dtype);
  const bool half = spec.dtype != DType::f32;
  const int count = static_cast<int>(args.epilogue.size());
  const Prefix prefix = library_prefix(spec.dtype, args.epilogue);

  LtMatmulSpec lt{0, spec.n, spec.k, spec.ldx, spec.ldw, spec.dtype, spec.dtype};
  lt.ldy = spec_.ldy;
  lt.allow_tf32 = args.allow_tf32;
  lt.bias = spec.bias_f32 != nullptr ? spec.bias : nullptr;
  lt.residual = prefix.residual;
  const auto store = [&](int taken) { return taken == count ? Store::fused : Store::in_place; };
  if (prefix.activation != Activation::none && (!half || prefix.count() == count)) {
    LtMatmulSpec with = lt;
    with.activation = prefix.activation;
    with.bias = spec.bias;  // those epilogues want one: zeros do
    if (try_plan(store(prefix.count()), prefix.count(), with, args)) return;
  }
  // 16-bit sums must not be rounded before the chain is done.
  const int taken = prefix.residual ? 1 : 0;
  if ((!half || taken == count) && try_plan(store(taken), taken, lt, args)) return;
  if (half && !apart) {
    LtMatmulSpec sums = lt;
    sums.out = DType::f32;
    sums.bias = nullptr;
    sums.residual = false;
    if (try_plan(Store::scratch, 0, sums, args)) return;
  }
  store_ = Store::tiles;
  taken_ = 0;
  residual_ = false;
  chunk_rows_ = std::min(spec.m, rows_within(kWorkspace, spec.caller_row_bytes, spec.m));
}

bool Gemm::try_plan(Store store, int taken, const LtMatmulSpec& lt, const PrepareArgs& args) {
  store_ = store;
  taken_ = taken;
  residual_ = lt.residual;
  const std::int64_t scratch_row = store == Store::scratch ? spec_.n * 4 : 0;
  chunk_rows_ = std::min(spec_.m, rows_within(kWorkspace, spec_.caller_row_bytes + scratch_row, spec_.m));
  LtMatmulSpec chunk = lt;
  chunk.m = chunk_rows_;
  main_ = LtMatmul::plan(chunk, spec_.w, args);
  tail_.reset();
  if (!main_) return false;
  chunk.m = rows(chunks() - 1);
  if (chunk.m == chunk_rows_) return true;
  tail_ = LtMatmul::plan(chunk, spec_.w, args);
  return tail_.has_value();
}

std::size_t Gemm::lt_workspace_bytes() const {
  if (store_ == Store::tiles) return 0;
  return round_up(std::max(main_->workspace_bytes(), tail_ ? tail_->workspace_bytes() : 0), kAlignment);
}

std::size_t Gemm::workspace_bytes() const {
  const std::size_t scratch = store_ == Store::scratch ? static_cast<std::size_t>(chunk_rows_ * spec_.n) * 4 : 0;
  return lt_workspace_bytes() + round_up(scratch, kAlignment);
}

void Gemm::launch(std::int64_t chunk, const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const {
  const std::int64_t first = chunk * chunk_rows_ * spec_.ldy;
  const auto at_chunk = [&](const void* p) {
    return static_cast<const char*>(p) + first * static_cast<std::int64_t>(size_of(spec_.dtype));
  };
  if (store_ == Store::tiles || !is_aligned(x, 16) || !is_aligned(y, 16) || !epilogue.aligned(16)) {
    const TileGemmArgs args{x, spec_.w, spec_.bias_f32, y, first, rows(chunk), spec_.n, spec_.k, spec_.ldx, spec_.ldw, spec_.ldy};
    launch_tile_gemm(spec_.dtype, args, epilogue, stream);
    return;
  }
  const LtMatmul& plan = rows(chunk) == chunk_rows_ ? *main_ : *tail_;
  void* out = const_cast<char*>(at_chunk(y));
  if (store_ == Store::scratch) out = static_cast<char*>(workspace) + lt_workspace_bytes();
  plan.launch(x, residual_ ? at_chunk(epilogue.ops[0].operand) : nullptr, out, workspace, stream);
  if (store_ == Store::fused) return;
  const float* bias = store_ == Store::scratch ? spec_.bias_f32 : nullptr;  // in place, cuBLASLt has added it
  launch_epilogue_pass(spec_.dtype, static_cast<const float*>(out), bias, y, first, rows(chunk) * spec_.n, spec_.n,
                       epilogue.without_first(taken_), stream);
}

std::string Gemm::describe() const {
  if (store_ == Store::tiles) return "own 64x64 tiles";
  std::string text = main_->describe();
  if (store_ == Store::in_place) text += ", own epilogue pass";
  if (store_ == Store::scratch) text += ", f32 sums, own epilogue pass";
  if (chunks() > 1) text += concat_text(", ", chunks(), " chunks");
  return text;
}

}  // namespace frieze::cuda

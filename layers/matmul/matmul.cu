// Matrix products: cuBLASLt, and an own kernel for what it does not take.
#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include <frieze/core/cuda/lt_matmul.h>
#include <frieze/layers/matmul/matmul.h>
#include <frieze/layers/shared/cuda/gemm_kernels.h>
#include <frieze/layers/shared/cuda/epilogue.cuh>
#include <frieze/layers/shared/cuda/strip_product.cuh>

namespace frieze::cuda {
namespace {

constexpr int kMostBatchAxes = Shape::kMaxRank;
constexpr std::int64_t kSumsWorkspace = std::int64_t{32} << 20;

// Element strides of [batch…, m, k], [batch…, k, n] and [batch…, m, n].
struct ProductArgs {
  const void *a = nullptr, *b = nullptr;
  void* y = nullptr;
  std::int64_t m = 1, n = 1, k = 1;
  std::int64_t a_row = 0, a_depth = 0, b_depth = 0, b_column = 0, y_row = 0, y_column = 0;
  int axes = 0;
  struct Axis {
    std::int64_t extent = 1, a = 0, b = 0, y = 0;
    friend bool operator==(const Axis&, const Axis&) = default;
  } batch[kMostBatchAxes];

  std::int64_t products() const {
    std::int64_t count = 1;
    for (int i = 0; i < axes; ++i) count *= batch[i].extent;
    return count;
  }
  // Whether only the addresses differ.
  bool lies_as(const ProductArgs& other) const {
    const auto all = [](const ProductArgs& p) {
      return std::array{p.m, p.n, p.k, p.a_row, p.a_depth, p.b_depth, p.b_column, p.y_row, p.y_column, std::int64_t{p.axes}};
    };
    return all(*this) == all(other) && std::equal(batch, batch + axes, other.batch);
  }
};

template <class T>
__global__ void __launch_bounds__(kStripThreads, 2)
    product_tile_per_block(const __grid_constant__ ProductArgs p, std::int64_t row_tiles, std::int64_t column_tiles,
                           const __grid_constant__ EpilogueArgs epilogue) {
  __shared__ float sums[kStripRows][kStripColumns];
  const DivMod by_column = div_mod(blockIdx.x, column_tiles), by_row = div_mod(by_column.quotient, row_tiles);
  const std::int64_t row0 = by_row.remainder * kStripRows, column0 = by_column.remainder * kStripColumns;
  std::int64_t rest = by_row.quotient, at_a = 0, at_b = 0, at_y = 0;
#pragma unroll 1
  for (int i = p.axes - 1; i >= 0; --i) {
    const DivMod at = div_mod(rest, p.batch[i].extent);
    rest = at.quotient;
    at_a += at.remainder * p.batch[i].a;
    at_b += at.remainder * p.batch[i].b;
    at_y += at.remainder * p.batch[i].y;
  }
  const T* a = static_cast<const T*>(p.a) + at_a + row0 * p.a_row;
  const T* b = static_cast<const T*>(p.b) + at_b + column0 * p.b_column;
  float acc[8][4] = {};
  multiply_strips(acc, Strip<T>{a, p.a_row, p.a_depth, p.m - row0}, Strip<T>{b, p.b_column, p.b_depth, p.n - column0}, p.k);
  // Through shared memory once more, so that the long code of the epilogue is there once and not 32 times.
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[strip_row(i)][strip_column(j)] = acc[i][j];
  }
  __syncthreads();
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kStripRows * kStripColumns; i += kStripThreads) {
    const int r = i / kStripColumns, c = i % kStripColumns;
    if (row0 + r >= p.m || column0 + c >= p.n) continue;
    const std::int64_t offset = at_y + (row0 + r) * p.y_row + (column0 + c) * p.y_column;
    float v[1] = {sums[r][c]};
    apply_epilogue<T>(epilogue, v, offset);  // with one, y and its operands are contiguous
    static_cast<T*>(p.y)[offset] = narrow<T>(v[0]);
  }
}

ProductArgs product_args(const MatMulViews& v) {
  ProductArgs p;
  p.a = v.a.data, p.b = v.b.data, p.y = v.y.data;
  const int rank = v.y.shape.rank();
  p.m = v.y.shape[-2], p.n = v.y.shape[-1], p.k = v.a.shape[-1];
  p.a_row = v.a.stride(rank - 2), p.a_depth = v.a.stride(rank - 1);
  p.b_depth = v.b.stride(rank - 2), p.b_column = v.b.stride(rank - 1);
  p.y_row = v.y.stride(rank - 2), p.y_column = v.y.stride(rank - 1);
  for (int i = 0; i < rank - 2; ++i) {
    const ProductArgs::Axis axis{v.y.shape[i], v.a.stride(i), v.b.stride(i), v.y.stride(i)};
    if (axis.extent == 1) continue;
    // One axis with the one before it if all three go on as they do inside.
    if (p.axes > 0) {
      ProductArgs::Axis& last = p.batch[p.axes - 1];
      if (last.a == axis.a * axis.extent && last.b == axis.b * axis.extent && last.y == axis.y * axis.extent) {
        last = {last.extent * axis.extent, axis.a, axis.b, axis.y};
        continue;
      }
    }
    p.batch[p.axes++] = axis;
  }
  // A b for all: the rows of a go on from product to product.
  if (p.axes > 0) {
    const ProductArgs::Axis& last = p.batch[p.axes - 1];
    const bool rows_of_a = p.m == 1 || last.a == p.m * p.a_row, rows_of_y = p.m == 1 || last.y == p.m * p.y_row;
    if (last.b == 0 && rows_of_a && rows_of_y) {
      p.a_row = p.m == 1 ? last.a : p.a_row;
      p.y_row = p.m == 1 ? last.y : p.y_row;
      p.m *= last.extent;
      --p.axes;
    }
  }
  return p;
}

// A matrix as cuBLASLt takes it: one axis is a run, the other has a leading dimension.
struct Lead {
  bool turned = false;
  std::int64_t ld = 0;
};
std::optional<Lead> lead(std::int64_t rows, std::int64_t row, std::int64_t columns, std::int64_t column) {
  const auto fits = [](std::int64_t outer, std::int64_t outer_step, std::int64_t run, std::int64_t step) {
    return (run == 1 || step == 1) && (outer == 1 || outer_step >= run);
  };
  if (fits(rows, row, columns, column)) return Lead{false, rows == 1 ? columns : row};
  if (fits(columns, column, rows, row)) return Lead{true, columns == 1 ? rows : column};
  return std::nullopt;
}

class MatMulKernel final : public Kernel {
 public:
  explicit MatMulKernel(const PrepareArgs& args) : dtype_(args.out[0].dtype), epilogue_(args.epilogue.begin(), args.epilogue.end()) {
    preload_gemm_kernels(dtype_);
    dispatch(dtype_, [](auto t) { preload(reinterpret_cast<const void*>(&product_tile_per_block<decltype(t)>)); });
    const auto view = [&](std::span<const TensorView> placed, std::span<const TensorSpec> specs, std::size_t i) {
      return placed.empty() ? TensorView(nullptr, specs[i]) : placed[i];
    };
    planned_ = product_args({view(args.in_views, args.in, 0), view(args.in_views, args.in, 1), view(args.out_views, args.out, 0)});
    plan(planned_, args);
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const ProductArgs p = product_args({args.in[0], args.in[1], args.out[0]});
    const EpilogueArgs epilogue = make_epilogue(epilogue_, args.in.subspan(2));
    const bool aligned = is_aligned(p.a, 16) && is_aligned(p.b, 16) && is_aligned(p.y, 16) && epilogue.aligned(16);
    if (!lt_ || !aligned || !p.lies_as(planned_)) return launch_tiles(p, epilogue, stream);
    each_outer(p, [&](std::int64_t at_a, std::int64_t at_b, std::int64_t at_y) {
      for (std::int64_t row = 0; row < p.m; row += rows_) {
        const std::int64_t rows = std::min(rows_, p.m - row), first = at_y + row * p.y_row;
        const LtMatmul& lt = rows == rows_ ? *lt_ : *tail_;
        const auto size = static_cast<std::int64_t>(size_of(dtype_));
        char* const y = static_cast<char*>(p.y) + first * size;
        char* const sums = scratch_ ? static_cast<char*>(args.workspace) + lt_bytes() : y;
        lt.launch_with(static_cast<const char*>(p.a) + (at_a + row * p.a_row) * size, static_cast<const char*>(p.b) + at_b * size, sums,
                       args.workspace, stream);
        if (epilogue.count == 0) continue;
        launch_epilogue_pass(dtype_, reinterpret_cast<const float*>(sums), nullptr, p.y, first, batch_ * rows * p.n, p.n, epilogue, stream);
      }
    });
  }

  std::size_t workspace_bytes() const override {
    if (!lt_) return 0;
    return lt_bytes() + (scratch_ ? static_cast<std::size_t>(batch_ * rows_ * n_) * 4 : 0);
  }
  std::string describe() const override {
    if (!lt_) return "own 128x64 tiles";
    std::string text = lt_->describe();
    if (!epilogue_.empty()) text += scratch_ ? ", f32 sums, own epilogue pass" : ", own epilogue pass";
    return text;
  }
  bool rebindable() const override { return !lt_; }
  bool builds_nodes() const override { return rebindable(); }

 private:
  // cuBLASLt where the matrices are right for it, with as many products a call as one axis of the batch has.
  void plan(const ProductArgs& p, const PrepareArgs& args) {
    const auto a = lead(p.m, p.a_row, p.k, p.a_depth), b = lead(p.n, p.b_column, p.k, p.b_depth), y = lead(p.m, p.y_row, p.n, p.y_column);
    if (!a || !b || !y || y->turned) return;
    const auto per_16_bytes = static_cast<std::int64_t>(16 / size_of(dtype_));
    for (int i = 0; i < p.axes; ++i) {
      const ProductArgs::Axis& axis = p.batch[i];
      if (axis.a % per_16_bytes != 0 || axis.b % per_16_bytes != 0 || axis.y % per_16_bytes != 0)
        return;  // each product begins at 16 bytes
    }
    LtMatmulSpec spec{p.m, p.n, p.k, a->ld, b->ld, dtype_, dtype_};
    spec.ldy = y->ld;
    spec.x_turned = a->turned, spec.w_turned = b->turned;
    spec.allow_tf32 = args.allow_tf32;
    n_ = p.n, rows_ = p.m;
    if (p.axes > 0) {
      const ProductArgs::Axis& inner = p.batch[p.axes - 1];
      batch_ = spec.batch = inner.extent;
      spec.step_x = inner.a, spec.step_w = inner.b, spec.step_y = inner.y;
    }
    if (batch_ > 0x7FFFFFFF) return;
    scratch_ = !epilogue_.empty() && dtype_ != DType::f32;  // 16-bit sums must not be rounded before the chain is done
    if (scratch_) {
      spec.out = DType::f32;
      spec.ldy = p.n, spec.step_y = p.m * p.n;
      const std::int64_t row_bytes = batch_ * p.n * 4;
      if (batch_ == 1) {
        rows_ = std::min(p.m, std::max<std::int64_t>(128, kSumsWorkspace / row_bytes / 128 * 128));
        spec.m = rows_;
      } else if (row_bytes * p.m > 2 * kSumsWorkspace) {
        return;  // the own kernel needs no workspace
      }
    }
    lt_ = LtMatmul::plan(spec, nullptr, args);
    if (!lt_ || p.m % rows_ == 0) return;
    spec.m = p.m % rows_;
    tail_ = LtMatmul::plan(spec, nullptr, args);
    if (!tail_) lt_.reset();
  }

  std::size_t lt_bytes() const {
    return round_up(std::max(lt_->workspace_bytes(), tail_ ? tail_->workspace_bytes() : 0), std::size_t{256});
  }

  // Calls body with the offsets of each product, or row of products, of the axes before the last.
  template <class Body>
  static void each_outer(const ProductArgs& p, Body&& body) {
    std::int64_t count = 1;
    for (int i = 0; i + 1 < p.axes; ++i) count *= p.batch[i].extent;
    for (std::int64_t index = 0; index < count; ++index) {
      std::int64_t rest = index, at_a = 0, at_b = 0, at_y = 0;
      for (int i = p.axes - 2; i >= 0; --i) {
        const std::int64_t at = rest % p.batch[i].extent;
        rest /= p.batch[i].extent;
        at_a += at * p.batch[i].a, at_b += at * p.batch[i].b, at_y += at * p.batch[i].y;
      }
      body(at_a, at_b, at_y);
    }
  }

  void launch_tiles(const ProductArgs& p, const EpilogueArgs& epilogue, cudaStream_t stream) const {
    const std::int64_t row_tiles = ceil_div<std::int64_t>(p.m, kStripRows), column_tiles = ceil_div<std::int64_t>(p.n, kStripColumns);
    dispatch(dtype_, [&](auto t) {
      // 2 * m * n * k flops of f32 outside the tensor cores: bound by arithmetic, and by shared memory.
      launch_kernel(&product_tile_per_block<decltype(t)>, grid_of(p.products() * row_tiles * column_tiles), dim3(kStripThreads), 0, stream,
                    p, row_tiles, column_tiles, epilogue);
    });
  }

  DType dtype_;
  std::vector<EpilogueOp> epilogue_;
  ProductArgs planned_;
  std::optional<LtMatmul> lt_, tail_;
  bool scratch_ = false;
  std::int64_t batch_ = 1, n_ = 1, rows_ = 1;
};

std::unique_ptr<Kernel> make(const MatMul&, const PrepareArgs& args) { return std::make_unique<MatMulKernel>(args); }

}  // namespace

void register_matmul(KernelRegistry& registry) { registry.add<MatMul>(&make); }

}  // namespace frieze::cuda

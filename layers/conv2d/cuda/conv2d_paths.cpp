#include <frieze/layers/conv2d/cuda/conv2d_paths.h>

#include <algorithm>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/layers/shared/cuda/gemm.h>

namespace frieze::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

bool is_pointwise(const ConvGeometry& g) {
  const bool same = g.out_h == g.in_h && g.out_w == g.in_w;  // not so with zeros at the bottom or on the right
  return g.taps() == 1 && g.stride_h == 1 && g.stride_w == 1 && g.pad_h == 0 && g.pad_w == 0 && same;
}

class DirectPath final : public ConvPath {
 public:
  explicit DirectPath(const ConvProblem& p) : p_(p) { preload_direct(p.dtype, p.g); }
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void*, cudaStream_t stream) const override {
    launch_direct(p_.dtype, p_.format, p_.g, p_.weights, x, y, epilogue, stream);
  }
  std::string describe() const override { return describe_direct(p_.g); }

 private:
  const ConvProblem& p_;
};

class DepthwisePath final : public ConvPath {
 public:
  DepthwisePath(const ConvProblem& p, std::span<const EpilogueOp> chain)
      : p_(p), rare_(std::any_of(chain.begin(), chain.end(), [](const EpilogueOp& op) { return is_rare(op.activation); })) {
    preload_depthwise(p.dtype);
  }
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void*, cudaStream_t stream) const override {
    const float* bias = p_.weights.has_bias ? p_.weights.bias_f32 : nullptr;
    launch_depthwise(p_.dtype, p_.g, p_.depthwise_weights, bias, x, y, epilogue, stream);
  }
  std::string describe() const override { return describe_depthwise(p_.dtype, p_.g, rare_); }

 private:
  const ConvProblem& p_;
  bool rare_;
};

// Groups of 32 channels, 1 x 1. Pointers that are no multiples of 16 bytes go the direct way.
class GroupedPath final : public ConvPath {
 public:
  explicit GroupedPath(const ConvProblem& p) : p_(p), misaligned_(p) { preload_grouped_pointwise(p.dtype); }
  static bool takes(const ConvProblem& p, const PrepareArgs& args) {
    const ConvGeometry& g = p.g;
    const bool groups = g.groups > 1 && g.in_c == g.groups * kGroupedChannels && g.out_c == g.in_c;
    return p.format == Format::nhwc && is_pointwise(g) && groups && args.epilogue.empty();
  }
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    if (p_.g.strided() || (is_aligned(x, 16) && is_aligned(y, 16))) {  // a plan's ranges of channels are aligned
      launch_grouped_pointwise(p_.dtype, p_.g, p_.weights, x, y, stream);
    } else {
      misaligned_.launch(x, y, epilogue, workspace, stream);
    }
  }
  std::string describe() const override {
    const bool half = p_.dtype != DType::f32;
    return concat_text("own grouped 1x1, ", half ? "64 pixels of a group a warp, tensor cores" : "whole groups of 2 pixels a thread");
  }

 private:
  const ConvProblem& p_;
  DirectPath misaligned_;
};

// Implicit GEMM. Where channels are no multiple of 8, a copy of x with zeros up to one goes to the workspace first.
class ImplicitPath final : public ConvPath {
 public:
  ImplicitPath(const ConvProblem& p, int tile) : p_(p), tile_(tile), pads_(p.g.in_c % 8 != 0), misaligned_(p) {
    preload_implicit_gemm(p.dtype, tile);
    if (!pads_) return;
    preload_gather_columns(p.dtype);
    // The copy is the "columns" of a 1 x 1 convolution over the input's pixels.
    copy_.n = p.g.n;
    copy_.in_c = p.g.in_c;
    copy_.in_h = copy_.out_h = p.g.in_h;
    copy_.in_w = copy_.out_w = p.g.in_w;
    copy_.pixels = p.g.n * p.g.in_h * p.g.in_w;
  }

  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    if (pads_) {
      launch_gather_columns(p_.dtype, copy_, p_.weights.tap_size, x, workspace, 0, copy_.pixels, stream);
      launch_implicit_gemm(p_.dtype, tile_, p_.g, p_.weights, workspace, y, epilogue, stream);
    } else if (is_aligned(x, 16)) {
      launch_implicit_gemm(p_.dtype, tile_, p_.g, p_.weights, x, y, epilogue, stream);
    } else {
      misaligned_.launch(x, y, epilogue, workspace, stream);
    }
  }
  std::size_t workspace_bytes() const override {
    return pads_ ? round_up(static_cast<std::size_t>(copy_.pixels * p_.weights.tap_size) * size_of(p_.dtype), kAlignment) : 0;
  }
  std::string describe() const override {
    const ImplicitTile t = kImplicitTiles[tile_];
    const std::string copy = pads_ ? concat_text(", channels copied to ", p_.weights.tap_size) : "";
    return concat_text("own implicit GEMM, tiles of ", t.rows, "x", t.columns, copy);
  }
  static std::int64_t blocks(const ConvGeometry& g, int tile) {
    const ImplicitTile t = kImplicitTiles[tile];
    return ceil_div<std::int64_t>(g.pixels, t.rows) * ceil_div(g.out_c, t.columns);
  }
  // The largest tile that still gives every SM a block.
  static int default_tile(const ConvGeometry& g, int sm_count) {
    if (g.out_c <= 32) return 3;
    if (g.out_c > 64 && blocks(g, 0) >= sm_count) return 0;
    return blocks(g, 1) >= sm_count ? 1 : 2;
  }

 private:
  const ConvProblem& p_;
  int tile_;
  bool pads_;
  ConvGeometry copy_;
  DirectPath misaligned_;
};

// Warp-group products. Pointers that are no multiples of 16 bytes go the direct way.
class WarpgroupPath final : public ConvPath {
 public:
  WarpgroupPath(const ConvProblem& p, const PrepareArgs& args) : p_(p), sm_count_(args.device->sm_count), misaligned_(p) {
    preload_warpgroup_conv(p.dtype, p.g);
  }
  static bool takes(const ConvProblem& p, const PrepareArgs& args) {
    const auto silu_or_relu = [](const EpilogueOp& op) {
      return op.kind == EpilogueOp::Kind::activation && (op.activation == Activation::silu || op.activation == Activation::relu);
    };
    const bool epilogue = args.epilogue.empty() || (args.epilogue.size() == 1 && silu_or_relu(args.epilogue[0]));
    return p.format == Format::nhwc && epilogue && takes_warpgroup_conv(p.dtype, p.g, args.device->compute_capability);
  }
  // Steps of 64 channels of K and tiles of 128 channels should not be half empty, and the GPU should not be idle.
  static bool fits(const ConvGeometry& g, int sm_count) { return g.in_c >= 48 && g.out_c >= 96 && 2 * warpgroup_tiles(g) >= sm_count; }
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    if (is_aligned(x, 16) && is_aligned(y, 16)) {
      launch_warpgroup_conv(p_.dtype, p_.g, p_.weights, epilogue.count > 0 ? epilogue.ops[0].activation : Activation::none, x, y, sm_count_,
                            stream);
    } else {
      misaligned_.launch(x, y, epilogue, workspace, stream);
    }
  }
  std::string describe() const override {
    return concat_text("own warp-group products, tiles of ", kWarpgroupTileW, "x", kWarpgroupTileH, " pixels x ", kWarpgroupChannels,
                       " channels");
  }

 private:
  const ConvProblem& p_;
  int sm_count_;
  DirectPath misaligned_;
};

GemmSpec gemm_spec(const ConvProblem& p) {
  GemmSpec spec{p.g.pixels, p.g.out_c, p.g.in_c, p.g.in_c, p.weights.row, p.dtype, p.weights.w, p.weights.bias};
  if (p.g.x_row > 0) spec.ldx = p.g.x_row;
  spec.ldy = p.g.y_row;
  spec.bias_f32 = p.weights.has_bias ? p.weights.bias_f32 : nullptr;
  return spec;
}

// 1 x 1 of stride 1 in nhwc: pixels are the rows of a product as they lie.
class PointwisePath final : public ConvPath {
 public:
  PointwisePath(const ConvProblem& p, const PrepareArgs& args) : p_(p), gemm_(gemm_spec(p), args) {}
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    const std::int64_t chunk_bytes =
        gemm_.chunk_rows() * (p_.g.x_row > 0 ? p_.g.x_row : p_.g.in_c) * static_cast<std::int64_t>(size_of(p_.dtype));
    for (std::int64_t i = 0; i < gemm_.chunks(); ++i) {
      gemm_.launch(i, static_cast<const char*>(x) + i * chunk_bytes, y, epilogue, workspace, stream);
    }
  }
  std::size_t workspace_bytes() const override { return gemm_.workspace_bytes(); }
  std::string describe() const override { return "1x1 as GEMM, " + gemm_.describe(); }
  bool only_own_kernels() const override { return gemm_.only_own_kernels(); }

 private:
  const ConvProblem& p_;
  Gemm gemm_;
};

// Columns of a few thousand pixels at a time, each chunk gathered and multiplied while it is in L2.
class ColumnsPath final : public ConvPath {
 public:
  ColumnsPath(const ConvProblem& p, const PrepareArgs& args) : p_(p), gemm_(spec(p), args) { preload_gather_columns(p.dtype); }
  void launch(const void* x, void* y, const EpilogueArgs& epilogue, void* workspace, cudaStream_t stream) const override {
    void* columns = static_cast<char*>(workspace) + gemm_.workspace_bytes();
    for (std::int64_t i = 0; i < gemm_.chunks(); ++i) {
      launch_gather_columns(p_.dtype, p_.g, p_.weights.tap_size, x, columns, i * gemm_.chunk_rows(), gemm_.rows(i), stream);
      gemm_.launch(i, columns, y, epilogue, workspace, stream);
    }
  }
  std::size_t workspace_bytes() const override {
    return gemm_.workspace_bytes() + round_up(static_cast<std::size_t>(gemm_.chunk_rows() * spec(p_).caller_row_bytes), kAlignment);
  }
  std::string describe() const override { return "columns and GEMM, " + gemm_.describe(); }
  bool only_own_kernels() const override { return gemm_.only_own_kernels(); }

 private:
  static GemmSpec spec(const ConvProblem& p) {
    GemmSpec spec = gemm_spec(p);
    spec.k = spec.ldx = std::int64_t{p.g.taps()} * p.weights.tap_size;
    spec.caller_row_bytes = spec.k * static_cast<std::int64_t>(size_of(p.dtype));
    return spec;
  }
  const ConvProblem& p_;
  Gemm gemm_;
};

// Whether columns and cuBLASLt are likely to beat the implicit GEMM. cuBLASLt splits K where pixels are too few to fill the GPU;
// and from sm_90 on, except on sm_120, mma.sync reaches a third of its speed, which pays for the columns once C is large.
bool prefers_columns(const ConvGeometry& g, const DeviceInfo& device) {
  const std::int64_t k = std::int64_t{g.taps()} * g.in_c;
  if (ImplicitPath::blocks(g, 2) < device.sm_count / 2 && k >= 2048) return true;
  const bool warp_groups = device.compute_capability == 90 || device.compute_capability == 100;
  return warp_groups && g.in_c >= 256 && g.out_c >= 256 && 2.0 * static_cast<double>(g.pixels * k) * g.out_c > 2e10;
}

const std::string kDirect = "direct", kGrouped = "grouped", kDepthwise = "depthwise", kGemm = "gemm", kImplicit = "implicit ",
                  kWarpgroup = "warpgroup";

}  // namespace

std::int64_t warpgroup_tiles(const ConvGeometry& g) {
  return ceil_div(g.out_w, kWarpgroupTileW) * std::int64_t{ceil_div(g.out_h, kWarpgroupTileH)} * g.n *
         ceil_div(g.out_c, kWarpgroupChannels);
}

bool takes_warpgroup_conv(DType dtype, const ConvGeometry& g, int compute_capability) {
#if FRIEZE_HAS_SM90A
  const bool kernel = g.kernel_h == g.kernel_w && (g.kernel_h == 3 || g.kernel_h == 2);
  const bool steps = g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 && g.dilation_w == 1;
  return compute_capability == 90 && dtype != DType::f32 && g.groups == 1 && kernel && steps && g.in_c % 8 == 0 && g.out_c % 8 == 0 &&
         warpgroup_tiles(g) < (1 << 30);
#else
  return static_cast<void>(dtype), static_cast<void>(g), static_cast<void>(compute_capability), false;
#endif
}

#if !FRIEZE_HAS_SM90A
void launch_warpgroup_conv(DType, const ConvGeometry&, const ConvWeights&, Activation, const void*, void*, int, cudaStream_t) {
  throw CudaError("this build has no convolution by warp-group products");
}
void preload_warpgroup_conv(DType, const ConvGeometry&) { throw CudaError("this build has no convolution by warp-group products"); }
#endif

std::vector<std::string> conv_path_ids(const ConvProblem& p, const PrepareArgs& args) {
  const ConvGeometry& g = p.g;
  if (p.format == Format::nhwc && p.depthwise_weights != nullptr) return {kDepthwise};
  if (GroupedPath::takes(p, args)) return {kGrouped};
  check<CudaError>(!g.strided() || (p.format == Format::nhwc && g.groups == 1 && is_pointwise(g)), "Conv2d: no kernel takes these strides");
  if (p.format != Format::nhwc || g.groups != 1) return {kDirect};
  if (g.strided()) return {kGemm};
  const bool half = p.dtype != DType::f32;
  std::vector<std::string> ids;
  const auto add_implicit = [&](int tile) {
    if (ImplicitPath::blocks(g, tile) <= 0x7FFFFFFF) ids.push_back(kImplicit + std::to_string(tile));
  };
  // Small products with an epilogue that cuBLASLt lacks are one launch in the implicit GEMM, two in a Gemm.
  const bool library_epilogue = Gemm::library_takes(p.dtype, args.epilogue);
  const double flops = 2.0 * static_cast<double>(g.pixels) * g.taps() * g.in_c * g.out_c;
  const bool gemm_first = !half || (is_pointwise(g) ? library_epilogue || flops > 1e9 : prefers_columns(g, *args.device));
  const int tile = ImplicitPath::default_tile(g, args.device->sm_count);
  const bool warpgroup = WarpgroupPath::takes(p, args), warpgroup_first = warpgroup && WarpgroupPath::fits(g, args.device->sm_count);
  if (warpgroup_first) ids.push_back(kWarpgroup);
  if (gemm_first && (!warpgroup_first || args.tune)) ids.push_back(kGemm);
  if (half && ((!gemm_first && !warpgroup_first) || args.tune)) {
    add_implicit(tile);
    for (int other = 0; args.tune && other < kImplicitTileCount; ++other) {
      // No tile more than half empty.
      if (other != tile && kImplicitTiles[other].columns < 2 * g.out_c) add_implicit(other);
    }
  }
  if (ids.empty() || (!gemm_first && args.tune)) ids.push_back(kGemm);
  if (warpgroup && !warpgroup_first && args.tune) ids.push_back(kWarpgroup);
  return ids;
}

std::unique_ptr<ConvPath> make_conv_path(const ConvProblem& p, const PrepareArgs& args, const std::string& id) {
  if (id == kDepthwise) return std::make_unique<DepthwisePath>(p, args.epilogue);
  if (id == kGrouped) return std::make_unique<GroupedPath>(p);
  if (id == kWarpgroup) return std::make_unique<WarpgroupPath>(p, args);
  if (id == kDirect) return std::make_unique<DirectPath>(p);
  if (id == kGemm && is_pointwise(p.g)) return std::make_unique<PointwisePath>(p, args);
  if (id == kGemm) return std::make_unique<ColumnsPath>(p, args);
  return std::make_unique<ImplicitPath>(p, std::stoi(id.substr(kImplicit.size())));
}

}  // namespace frieze::cuda

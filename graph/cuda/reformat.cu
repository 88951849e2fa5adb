#include <frieze/core/cuda/check.h>
#include <frieze/graph/cuda/reformat.h>
#include <frieze/graph/cuda/strided_copy.h>
#include <frieze/core/cuda/launch.cuh>

namespace frieze::cuda {
namespace {

constexpr int kTile = 32;

// One block transposes 32 x 32 tiles of one image through shared memory: in is [rows, columns], out [columns, rows].
// nchw -> nhwc: rows = C, columns = H*W; back: the other way round.
template <class T>
__global__ void __launch_bounds__(256) transpose_block_per_tile(const T* in, T* out, std::int64_t rows, std::int64_t columns,
                                                                std::int64_t row_tiles, std::int64_t tiles_per_image) {
  __shared__ T tile[kTile][kTile + 1];
  const std::int64_t image = blockIdx.x / tiles_per_image, within = blockIdx.x % tiles_per_image;
  const std::int64_t row0 = within % row_tiles * kTile, column0 = within / row_tiles * kTile;
  in += image * rows * columns;
  out += image * rows * columns;
  for (int i = threadIdx.y; i < kTile; i += 8) {
    const std::int64_t row = row0 + i, column = column0 + threadIdx.x;
    if (row < rows && column < columns) tile[i][threadIdx.x] = in[row * columns + column];
  }
  __syncthreads();
  for (int i = threadIdx.y; i < kTile; i += 8) {
    const std::int64_t column = column0 + i, row = row0 + threadIdx.x;
    if (row < rows && column < columns) out[column * rows + row] = tile[threadIdx.x][i];
  }
}

// Few channels (an RGB image): a thread owns one pixel. Planes are read or written coalesced, and the pixels of a warp lie
// side by side, so that the channel side is contiguous too.
template <class T, bool kToNhwc>
__global__ void __launch_bounds__(256)
    interleave_thread_per_pixel(const T* in, T* out, int channels, std::int64_t plane, std::int64_t pixels) {
  const std::int64_t p = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (p >= pixels) return;
  const std::int64_t image = p / plane, at = p - image * plane;
  const std::int64_t planar = image * plane * channels + at, packed = p * channels;
  for (int c = 0; c < channels; ++c) {
    if (kToNhwc)
      out[packed + c] = in[planar + c * plane];
    else
      out[planar + c * plane] = in[packed + c];
  }
}

class ReformatKernel final : public NodeKernel {
 public:
  ReformatKernel(const TensorSpec& in, const TensorSpec& out) : in_(in), out_(out) {
    dispatch_bits([&](auto t) {
      using T = decltype(t);
      preload(reinterpret_cast<const void*>(&transpose_block_per_tile<T>));
      preload(reinterpret_cast<const void*>(&interleave_thread_per_pixel<T, true>));
      preload(reinterpret_cast<const void*>(&interleave_thread_per_pixel<T, false>));
    });
  }

  void launch(const LaunchArgs& args, cudaStream_t stream) const override {
    const void* from = args.in[0].data;
    void* to = args.out[0].data;
    if (in_.format == out_.format || same_layout(in_.shape)) {
      enqueue_copy(to, from, static_cast<std::size_t>(in_.bytes()), stream);
      return;
    }
    dispatch_bits([&](auto t) { convert(static_cast<const decltype(t)*>(from), static_cast<decltype(t)*>(to), stream); });
  }

  std::string describe() const override {
    if (in_.format == out_.format || same_layout(in_.shape)) return "device copy";
    return in_.shape.c() <= kFewChannels ? "thread per pixel" : "32x32 tiles through shared memory";
  }
  bool rebindable() const override { return in_.format != out_.format && !same_layout(in_.shape); }

 private:
  static constexpr std::int64_t kFewChannels = 8;

  // Only bits move: f16 and bf16 are the same here.
  template <class Body>
  void dispatch_bits(Body&& body) const {
    if (size_of(in_.dtype) == 8)
      body(std::uint64_t{});
    else if (size_of(in_.dtype) == 4)
      body(std::uint32_t{});
    else
      body(std::uint16_t{});
  }

  template <class T>
  void convert(const T* from, T* to, cudaStream_t stream) const {
    const std::int64_t channels = in_.shape.c(), plane = in_.shape.h() * in_.shape.w(), images = in_.shape.n();
    const bool to_nhwc = out_.format == Format::nhwc;
    if (channels <= kFewChannels) {
      const std::int64_t pixels = plane * images;
      const dim3 grid = grid_of(ceil_div<std::int64_t>(pixels, 256));
      if (to_nhwc)
        launch_kernel(interleave_thread_per_pixel<T, true>, grid, dim3(256), 0, stream, from, to, static_cast<int>(channels), plane,
                      pixels);
      else
        launch_kernel(interleave_thread_per_pixel<T, false>, grid, dim3(256), 0, stream, from, to, static_cast<int>(channels), plane,
                      pixels);
      return;
    }
    const std::int64_t rows = to_nhwc ? channels : plane, columns = to_nhwc ? plane : channels;
    const std::int64_t row_tiles = ceil_div<std::int64_t>(rows, kTile), tiles = row_tiles * ceil_div<std::int64_t>(columns, kTile);
    launch_kernel(transpose_block_per_tile<T>, grid_of(tiles * images), dim3(kTile, 8), 0, stream, from, to, rows, columns, row_tiles,
                  tiles);
  }

  TensorSpec in_, out_;
};

class StridedCopyKernel final : public NodeKernel {
 public:
  StridedCopyKernel() { preload_strided_copy(); }
  void launch(const LaunchArgs& args, cudaStream_t stream) const override { launch_strided_copy(args.in[0], args.out[0], stream); }
  std::string describe() const override { return "a strided copy"; }
};

}  // namespace

std::unique_ptr<Kernel> make_reformat_kernel(const TensorSpec& in, const TensorSpec& out) {
  return std::make_unique<ReformatKernel>(in, out);
}

std::unique_ptr<Kernel> make_reformat_kernel(const TensorSpec& in, const TensorSpec& out, const TensorView& in_view,
                                             const TensorView& out_view) {
  if (in_view.is_contiguous(in.format) && out_view.is_contiguous(out.format)) return make_reformat_kernel(in, out);
  return std::make_unique<StridedCopyKernel>();
}

}  // namespace frieze::cuda

// rms_norm2d() as somebody calls it who uses nothing else: any strides, aliasing, capture, refusals, very large tensors.
#include <gtest/gtest.h>

#if FRIEZE_WITH_CUDA
#include <numeric>
#include <utility>

#include <frieze/core/cuda/check.h>
#include <frieze/core/error.h>
#include "layers/rms_norm2d_device.h"
#include "support/parity_grid.h"

namespace frieze {
namespace {

using test::DeviceTensor;
using test::DirectCase;
using test::Fill;
using test::kNchw;
using test::kNhwc;
using test::Layout;

using test::kTypes;
const Layout kLayouts[] = {kNchw,
                           kNhwc,
                           {"H and W swapped", {2, 3, 1, 0}},
                           {"N fastest", {0, 1, 2, 3}},
                           {"every other pixel", {3, 2, 1, 0}, {1, 1, 1, 2}},
                           {"every third channel of nhwc", {1, 3, 2, 0}, {1, 3, 1, 1}},
                           {"rows from right to left", {3, 2, 1, 0}, {1, 1, 1, -1}},
                           {"all axes backwards, with gaps", {1, 3, 2, 0}, {-2, -2, -1, -2}}};

RMSNorm2dOptions options(bool weight, bool bias, ResidualMode residual = ResidualMode::none, Activation activation = Activation::none) {
  RMSNorm2dOptions o;
  o.weight = weight;
  o.bias = bias;
  o.residual = residual;
  o.activation = activation;
  return o;
}

// Tensors of a case on the device.
struct OnDevice {
  DeviceTensor x, y, residual;
  explicit OnDevice(DirectCase& c)
      : x(c.shape, c.dtype, c.x_layout), y(c.shape, c.dtype, c.y_layout), residual(c.shape, c.dtype, c.residual_layout) {
    x.fill(c.x);
    if (!c.residual.empty()) residual.fill(c.residual);
    c.call.residual = residual.view();
  }
};

std::vector<float> run(DirectCase c, cudaStream_t stream) {
  c.prepare();
  OnDevice t(c);
  rms_norm2d(t.x.view(), t.y.view(), c.call, stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
  const std::vector<float> got = t.y.floats();
  EXPECT_EQ(t.x.floats().size(), c.x.size());  // and unchanged around it
  c.expect_close(got, "direct call");
  return got;
}

TEST(RMSNorm2dDirect, AnyStrides) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : kTypes) {
    for (const Layout& x : kLayouts) {
      for (const Layout& y : kLayouts) {
        run({options(true, false), {2, 33, 4, 6}, t, x, y}, stream.get());
        run({options(false, true, ResidualMode::before), {2, 8, 3, 5}, t, x, y, y}, stream.get());
        run({options(true, true, ResidualMode::after, Activation::silu), {1, 64, 1, 7}, t, x, x, y}, stream.get());
      }
    }
  }
}

TEST(RMSNorm2dDirect, StridesOfManyPixelsAndChannels) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const Layout& layout : kLayouts) {
    run({options(true, false), {3, 5, 61, 67}, DType::f16, layout, layout}, stream.get());
    run({options(true, false), {2, 1025, 3, 2}, DType::f32, layout, layout}, stream.get());
    run({options(false, false), {1, 5000, 1, 3}, DType::bf16, layout, kNchw}, stream.get());
  }
}

TEST(RMSNorm2dDirect, ContiguousShapesAndOptions) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : kTypes) {
    for (const Layout& layout : {kNchw, kNhwc}) {
      for (const std::int64_t c : {1, 3, 64, 96, 1025}) {
        for (const EpsMode mode : test::kEpsModes) {
          for (const test::Fill fill : {Fill::normal, Fill::special, Fill::huge}) {
            RMSNorm2dOptions o = options(c % 2 != 0, c % 3 == 0);
            o.eps_mode = mode;
            o.rounding = c == 96 ? Rounding::diffusers : c == 64 ? Rounding::wan : Rounding::once;
            o.activation = c == 3 ? Activation::gelu : Activation::none;
            run({o, {2, c, 4, 4}, t, layout, layout, layout, fill}, stream.get());
          }
        }
      }
    }
  }
}

TEST(RMSNorm2dDirect, InPlaceOfXAndOfTheResidual) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : kTypes) {
    for (const Layout& layout : kLayouts) {
      for (const ResidualMode mode : test::kResidualModes) {
        for (const std::int64_t channels : {33, 64, 1280}) {
          DirectCase c{options(true, false, mode), {2, channels, 3, 8}, t, layout, layout, layout};
          c.prepare();
          OnDevice over_x(c);
          rms_norm2d(over_x.x.view(), over_x.x.view(), c.call, stream.get());
          CUDA_CHECK(cudaStreamSynchronize(stream.get()));
          c.expect_close(over_x.x.floats(), "y is x");
          if (mode == ResidualMode::none) continue;
          OnDevice over_residual(c);
          rms_norm2d(over_residual.x.view(), over_residual.residual.view(), c.call, stream.get());
          CUDA_CHECK(cudaStreamSynchronize(stream.get()));
          c.expect_close(over_residual.residual.floats(), "y is the residual");
        }
      }
    }
  }
}

// More blocks than a GPU runs at once, in rows that begin anywhere: whoever reads a neighbour's pixels may find them normalised.
TEST(RMSNorm2dDirect, InPlaceOfManyBlocks) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : {DType::f32, DType::bf16}) {
    for (const Shape& shape : {Shape{1, 3, 1023, 1025}, Shape{1, 9, 513, 511}}) {
      DirectCase c{options(false, false, ResidualMode::none), shape, t};
      c.prepare();
      OnDevice d(c);
      rms_norm2d(d.x.view(), d.y.view(), c.call, stream.get());
      rms_norm2d(d.x.view(), d.x.view(), c.call, stream.get());
      CUDA_CHECK(cudaStreamSynchronize(stream.get()));
      const std::vector<float> apart = d.y.floats(), in_place = d.x.floats();
      std::size_t different = 0;
      for (std::size_t i = 0; i < apart.size(); ++i) {
        const double limit = 2 * test::ulp_at(t, static_cast<double>(apart[i]));  // another kernel may run
        different += std::abs(static_cast<double>(apart[i]) - static_cast<double>(in_place[i])) <= limit ? 0 : 1;
      }
      EXPECT_EQ(different, 0U) << shape << ' ' << t;
    }
  }
}

// The same pixel everywhere gives the same bits everywhere: in every image, at every place in a tile and at its edge.
TEST(RMSNorm2dDirect, APixelGivesTheSameBitsAtEveryPlace) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const DType t : kTypes) {
    for (const Layout& layout : {kNchw, kNhwc}) {
      for (const Shape& shape : {Shape{7, 64, 5, 13}, Shape{3, 96, 16, 16}, Shape{2, 33, 31, 33}, Shape{2, 1280, 2, 9}}) {
        DirectCase c{options(true, true, ResidualMode::none, Activation::silu), shape, t, layout, layout};
        c.prepare();
        const auto pixels = static_cast<std::size_t>(shape.h() * shape.w()), channels = static_cast<std::size_t>(shape.c());
        for (std::size_t i = 0; i < c.x.size(); ++i) c.x[i] = c.x[i / pixels % channels * pixels];
        OnDevice d(c);
        rms_norm2d(d.x.view(), d.y.view(), c.call, stream.get());
        CUDA_CHECK(cudaStreamSynchronize(stream.get()));
        const std::vector<float> y = d.y.floats();
        std::size_t different = 0;
        for (std::size_t i = 0; i < y.size(); ++i) different += y[i] != y[i / pixels % channels * pixels] ? 1 : 0;
        EXPECT_EQ(different, 0U) << shape << ' ' << t << ' ' << layout.name;
      }
    }
  }
}

// A capture of somebody's own, in the strictest mode.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) { CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal)); }
  cuda::Graph end() {
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
    return cuda::Graph(graph);
  }

 private:
  cudaStream_t stream_;
};

std::vector<cudaGraphNode_t> nodes_of(const cuda::Graph& graph) {
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph.get(), nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  CUDA_CHECK(cudaGraphGetNodes(graph.get(), nodes.data(), &count));
  return nodes;
}

TEST(RMSNorm2dDirect, IsOneKernelInAnybodysGraph) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  for (const Layout& layout : kLayouts) {
    for (const std::int64_t channels : {3, 64, 1024, 16384}) {
      DirectCase c{options(true, true, ResidualMode::after, Activation::relu), {1, channels, 2, 8}, DType::bf16, layout, layout, layout};
      c.prepare();
      OnDevice d(c);
      rms_norm2d(d.x.view(), d.y.view(), c.call, stream.get());
      CUDA_CHECK(cudaStreamSynchronize(stream.get()));
      const std::vector<float> eager = d.y.floats();
      Capture capture(stream.get());
      rms_norm2d(d.x.view(), d.y.view(), c.call, stream.get());
      const cuda::Graph graph = capture.end();
      const std::vector<cudaGraphNode_t> nodes = nodes_of(graph);
      ASSERT_EQ(nodes.size(), 1U) << layout.name << ' ' << channels;
      cudaGraphNodeType type{};
      CUDA_CHECK(cudaGraphNodeGetType(nodes[0], &type));
      EXPECT_EQ(type, cudaGraphNodeTypeKernel);
      cudaGraphExec_t raw = nullptr;
      CUDA_CHECK(cudaGraphInstantiate(&raw, graph.get(), 0));
      const cuda::GraphExec exec(raw);
      for (int replay = 0; replay < 2; ++replay) {
        d.y.fill(std::vector<float>(eager.size(), std::nanf("")));
        CUDA_CHECK(cudaGraphLaunch(exec.get(), stream.get()));
        CUDA_CHECK(cudaStreamSynchronize(stream.get()));
        EXPECT_EQ(d.y.floats(), eager) << layout.name << ' ' << channels;
      }
    }
  }
}

// Each is refused with its own type of error, and nothing was enqueued.
TEST(RMSNorm2dDirect, RefusesBeforeAnythingIsEnqueued) {
  FRIEZE_NEEDS_GPU();
  const cuda::Stream stream = cuda::make_stream();
  const cuda::DeviceBuffer memory(1 << 16);
  const auto view = [&](const Shape& shape, DType t = DType::f32, std::ptrdiff_t offset = 0) {
    return TensorView(memory.as<char>() + offset, TensorSpec{shape, t});
  };
  const Shape shape{1, 8, 4, 4};  // 512 bytes
  const TensorView x = view(shape), y = view(shape, DType::f32, 8192);
  RMSNorm2dCall plain, residual;
  residual.residual_mode = ResidualMode::before;
  residual.residual = view(shape, DType::f32, 16384);
  const auto with_eps = [](double eps) {
    RMSNorm2dCall call;
    call.eps = eps;
    return call;
  };
  const auto with_residual = [&](const TensorView& r) {
    RMSNorm2dCall call = residual;
    call.residual = r;
    return call;
  };
  TensorView swapped = x;  // x's memory in another order
  std::swap(swapped.strides[2], swapped.strides[3]);

  enum class Kind { shape, dtype, option };
  struct Refusal {
    const char* what;
    TensorView x, y;
    RMSNorm2dCall call;
    Kind kind;
  };
  const Refusal refusals[] = {
      {"rank 3", view({8, 4, 4}), view({8, 4, 4}, DType::f32, 8192), plain, Kind::shape},
      {"y of another shape", x, view({1, 8, 4, 5}, DType::f32, 8192), plain, Kind::shape},
      {"no image", view({0, 8, 4, 4}), view({0, 8, 4, 4}, DType::f32, 8192), plain, Kind::shape},
      {"y of another type", x, view(shape, DType::f16, 8192), plain, Kind::dtype},
      {"a residual of another shape", x, y, with_residual(view({1, 8, 4, 1}, DType::f32, 16384)), Kind::shape},
      {"a residual of another type", x, y, with_residual(view(shape, DType::bf16, 16384)), Kind::dtype},
      {"a negative eps", x, y, with_eps(-1e-5), Kind::option},
      {"an eps that is NaN", x, y, with_eps(std::nan("")), Kind::option},
      {"an infinite eps", x, y, with_eps(HUGE_VAL), Kind::option},
      {"y one element behind x", x, view(shape, DType::f32, 4), plain, Kind::shape},
      {"y that begins in the last element of x", x, view(shape, DType::f32, 508), plain, Kind::shape},
      {"y that ends in the first element of x", view(shape, DType::f32, 508), x, plain, Kind::shape},
      {"y in x's memory with other strides", x, swapped, plain, Kind::shape},
      {"y one element behind the residual", x, view(shape, DType::f32, 16388), residual, Kind::shape},
  };
  for (const Refusal& r : refusals) {
    Capture capture(stream.get());
    const auto call = [&] { rms_norm2d(r.x, r.y, r.call, stream.get()); };
    switch (r.kind) {
      // An overlap is a matter of neither shape, type nor option alone; the three are all that the contract names.
      case Kind::shape: EXPECT_THROW(call(), Error) << r.what; break;
      case Kind::dtype: EXPECT_THROW(call(), DTypeError) << r.what; break;
      case Kind::option: EXPECT_THROW(call(), OptionError) << r.what; break;
    }
    EXPECT_TRUE(nodes_of(capture.end()).empty()) << r.what << ": something was enqueued";
  }
  // Side by side is no overlap, and a residual that is not used is not looked at.
  RMSNorm2dCall unused;
  unused.residual = view({1}, DType::f16, 512);
  EXPECT_NO_THROW(rms_norm2d(x, view(shape, DType::f32, 512), unused, stream.get()));
  CUDA_CHECK(cudaStreamSynchronize(stream.get()));
}

// More than 2^31 elements. The values repeat with a period that is prime, so that a wrong offset meets another value.
class Huge {
 public:
  Huge(const Shape& shape, Format format)
      : shape_(shape), x_(bytes()), y_(bytes()), view_x_(x_.data(), TensorSpec{shape, DType::f16, format}) {
    const std::vector<float> values = test::random_values(kPeriod, 3, Fill::normal, DType::f16, 1);
    period_ = values;
    const HostTensor rounded({Shape{kPeriod}, DType::f16, Format::nchw}, values);
    x_.upload(rounded.data(), rounded.bytes());
    for (std::size_t filled = rounded.bytes(); filled < bytes(); filled *= 2) {
      CUDA_CHECK(cudaMemcpy(x_.as<char>() + filled, x_.data(), std::min(filled, bytes() - filled), cudaMemcpyDeviceToDevice));
    }
    CUDA_CHECK(cudaMemset(y_.data(), 0xFF, bytes()));
    CUDA_CHECK(cudaDeviceSynchronize());
  }

  void run(cudaStream_t stream) {
    TensorView y = view_x_;
    y.data = y_.data();
    rms_norm2d(view_x_, y, {}, stream);
    CUDA_CHECK(cudaStreamSynchronize(stream));
  }

  // The pixel at h, w of image n against the formula.
  void expect_pixel(std::int64_t n, std::int64_t h, std::int64_t w) const {
    std::vector<float> in, got;
    for (std::int64_t c = 0; c < shape_.c(); ++c) {
      const std::int64_t at = n * view_x_.stride(0) + c * view_x_.stride(1) + h * view_x_.stride(2) + w * view_x_.stride(3);
      std::uint16_t bits = 0;
      CUDA_CHECK(cudaMemcpy(&bits, y_.as<std::uint16_t>() + at, sizeof bits, cudaMemcpyDeviceToHost));
      in.push_back(period_[static_cast<std::size_t>(at % kPeriod)]);
      got.push_back(load_element(DType::f16, &bits, 0));
    }
    RMSNorm2dOptions o;
    o.weight = false;
    const std::vector<test::NormResult> expected = test::norm_pixel(o, DType::f16, in, {}, {}, {});
    for (std::size_t c = 0; c < got.size(); ++c) {
      const auto truth = static_cast<double>(expected[c].y);
      ASSERT_LE(std::abs(got[c] - truth), 0.51 * test::ulp_at(DType::f16, truth))
          << "image " << n << ", pixel " << h << ',' << w << ", channel " << c;
    }
  }

  // Elements that nobody wrote still hold the pattern of the poison.
  std::size_t unwritten() const {
    constexpr std::size_t kPiece = std::size_t{64} << 20;
    std::vector<std::uint16_t> piece(kPiece);
    std::size_t found = 0;
    for (std::size_t begin = 0; begin < bytes() / 2; begin += kPiece) {
      const std::size_t count = std::min(kPiece, bytes() / 2 - begin);
      CUDA_CHECK(cudaMemcpy(piece.data(), y_.as<std::uint16_t>() + begin, count * 2, cudaMemcpyDeviceToHost));
      found += static_cast<std::size_t>(std::count(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count), 0xFFFF));
    }
    return found;
  }

 private:
  static constexpr std::int64_t kPeriod = 4194301;  // a prime
  std::size_t bytes() const { return static_cast<std::size_t>(shape_.elements()) * 2; }
  Shape shape_;
  cuda::DeviceBuffer x_, y_;
  TensorView view_x_;
  std::vector<float> period_;
};

TEST(RMSNorm2dDirect, MoreThanTwoToThe31Elements) {
  FRIEZE_NEEDS_GPU();
  std::size_t free_bytes = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
  if (free_bytes < (std::size_t{11} << 30)) GTEST_SKIP() << "needs 11 GiB of free device memory";
  const cuda::Stream stream = cuda::make_stream();
  const Shape shape{9, 64, 2049, 2049};  // 2.4e9 elements, rows of odd length
  ASSERT_GT(shape.elements(), std::int64_t{1} << 31);
  for (const Format format : {Format::nchw, Format::nhwc}) {
    Huge huge(shape, format);
    huge.run(stream.get());
    for (const std::int64_t n : {0, 6, 7, 8}) {  // element 2^31 is in image 7
      for (const auto& [h, w] : {std::pair{0, 0}, std::pair{0, 2048}, std::pair{1023, 17}, std::pair{2048, 0}, std::pair{2048, 2048}}) {
        huge.expect_pixel(n, h, w);
      }
    }
    for (std::int64_t i = 0; i < 64; ++i) huge.expect_pixel(i % 9, i * 947 % 2049, i * 1571 % 2049);
    EXPECT_EQ(huge.unwritten(), 0U) << format;
  }
}

}  // namespace
}  // namespace frieze
#endif

// Conv2d on the CPU: a few output rows at a time, as a matrix product over gathered columns; sums in double.
#include <algorithm>

#include <frieze/core/integers.h>
#include <frieze/core/parallel.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/shared/matmul.h>

namespace frieze {
namespace {

struct Problem {
  Shape x, y;
  Size2d kernel, stride, dilation;
  int top, left;
  std::int64_t in_per_group, out_per_group;
  std::int64_t depth() const { return in_per_group * kernel.h * kernel.w; }
};

// First and past-the-last j in [0, out) for which j*stride + offset lies in [0, in).
std::pair<std::int64_t, std::int64_t> valid_range(std::int64_t out, std::int64_t in, int stride, std::int64_t offset) {
  const std::int64_t first = offset >= 0 ? 0 : ceil_div(-offset, stride);
  const std::int64_t last = offset >= in ? 0 : (in - 1 - offset) / stride + 1;
  return {std::min(first, out), std::clamp(last, std::min(first, out), out)};
}

// What output rows [row, row + rows) of one image see of input channels [channel, channel + in_per_group): K rows of
// rows * W' floats, zero outside of the image. `x` is the whole input, row-major [N,C,H,W].
void gather_columns(const Problem& p, const float* x, std::int64_t n, std::int64_t channel, std::int64_t row, std::int64_t rows,
                    float* columns) {
  const std::int64_t h = p.x.h(), w = p.x.w(), out_w = p.y.w();
  for (std::int64_t c = 0; c < p.in_per_group; ++c) {
    const float* plane = x + (n * p.x.c() + channel + c) * h * w;
    for (std::int64_t r = 0; r < p.kernel.h; ++r) {
      for (std::int64_t s = 0; s < p.kernel.w; ++s) {
        const std::int64_t shift = s * p.dilation.w - p.left;
        const auto [first, last] = valid_range(out_w, w, p.stride.w, shift);
        for (std::int64_t i = row; i < row + rows; ++i, columns += out_w) {
          const std::int64_t y = i * p.stride.h - p.top + r * p.dilation.h;
          if (y < 0 || y >= h) {
            std::fill(columns, columns + out_w, 0.0F);
            continue;
          }
          std::fill(columns, columns + first, 0.0F);
          for (std::int64_t j = first; j < last; ++j) columns[j] = plane[y * w + j * p.stride.w + shift];
          std::fill(columns + last, columns + out_w, 0.0F);
        }
      }
    }
  }
}

// The same sums without columns, for one output channel per group: there the product would have a single row.
void accumulate_rows(const Problem& p, const float* x, std::int64_t n, std::int64_t channel, std::int64_t row, std::int64_t rows,
                     const float* weight, double* sums) {
  const std::int64_t h = p.x.h(), w = p.x.w(), out_w = p.y.w();
  std::fill(sums, sums + rows * out_w, 0.0);
  for (std::int64_t c = 0; c < p.in_per_group; ++c) {
    const float* plane = x + (n * p.x.c() + channel + c) * h * w;
    for (std::int64_t r = 0; r < p.kernel.h; ++r) {
      for (std::int64_t s = 0; s < p.kernel.w; ++s) {
        const double factor = *weight++;
        const std::int64_t shift = s * p.dilation.w - p.left;
        const auto [first, last] = valid_range(out_w, w, p.stride.w, shift);
        for (std::int64_t i = 0; i < rows; ++i) {
          const std::int64_t y = (row + i) * p.stride.h - p.top + r * p.dilation.h;
          if (y < 0 || y >= h) continue;
          const float* in = plane + y * w + shift;
          double* out = sums + i * out_w;
          for (std::int64_t j = first; j < last; ++j) out[j] += factor * static_cast<double>(in[j * p.stride.w]);
        }
      }
    }
  }
}

std::vector<float> padded_input(const TensorView& x, const Padding2d& padding, PadMode mode) {
  const HostTensor padded({padded_shape("Conv2d", x.shape, padding, mode), x.dtype});
  const TensorView out[] = {padded.view()};
  Pad(padding, mode).reference({{&x, 1}, out, x.dtype});
  return padded.floats();
}

void store_rows(const TensorView& out, std::int64_t n, std::int64_t channel, std::int64_t row, std::int64_t rows, const double* sums,
                double bias) {
  const std::int64_t w = out.shape.w();
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t start = n * out.stride(0) + channel * out.stride(1) + (row + i) * out.stride(2);
    for (std::int64_t j = 0; j < w; ++j) {
      store_element(out.dtype, out.data, static_cast<std::size_t>(start + j * out.stride(3)), sums[i * w + j] + bias);
    }
  }
}

}  // namespace

void Conv2d::reference(const ReferenceArgs& args) const {
  const bool zeros = padding_mode() == PadMode::zeros;
  const std::vector<float> x = zeros ? to_floats(args.in[0]) : padded_input(args.in[0], padding(), padding_mode());
  const Problem p{zeros ? args.in[0].shape : padded_shape(type_name(), args.in[0].shape, padding(), padding_mode()),
                  args.out[0].shape,
                  kernel_,
                  stride(),
                  dilation(),
                  zeros ? padding().top : 0,
                  zeros ? padding().left : 0,
                  in_channels_ / groups(),
                  out_channels_ / groups()};
  const std::vector<float> weight = weight_.rounded(args.run_dtype);
  const std::vector<float> bias = has_bias() ? bias_.rounded(args.run_dtype) : std::vector<float>(static_cast<std::size_t>(out_channels_));

  // Columns and sums of one task stay within a few MiB, whatever the image is.
  constexpr std::int64_t kTaskElements = std::int64_t{1} << 19;
  const std::int64_t row_elements = p.y.w() * std::max(p.depth(), p.out_per_group);
  const std::int64_t rows = std::clamp<std::int64_t>(kTaskElements / row_elements, 1, p.y.h());
  const std::int64_t bands = ceil_div(p.y.h(), rows);
  parallel_for(p.x.n() * groups() * bands, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> columns;
    std::vector<double> sums(static_cast<std::size_t>(p.out_per_group * rows * p.y.w()));
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t row = task % bands * rows, count = std::min(rows, p.y.h() - row), pixels = count * p.y.w();
      const std::int64_t group = task / bands % groups(), n = task / bands / groups();
      const float* w = weight.data() + group * p.out_per_group * p.depth();
      if (p.out_per_group == 1) {
        accumulate_rows(p, x.data(), n, group * p.in_per_group, row, count, w, sums.data());
      } else {
        columns.resize(static_cast<std::size_t>(p.depth() * pixels));
        gather_columns(p, x.data(), n, group * p.in_per_group, row, count, columns.data());
        matmul(MatrixView<const float>(w, p.out_per_group, p.depth()), MatrixView<const float>(columns.data(), p.depth(), pixels),
               MatrixView<double>(sums.data(), p.out_per_group, pixels));
      }
      for (std::int64_t o = 0; o < p.out_per_group; ++o) {
        const std::int64_t channel = group * p.out_per_group + o;
        store_rows(args.out[0], n, channel, row, count, sums.data() + o * pixels, bias[static_cast<std::size_t>(channel)]);
      }
    }
  });
}

}  // namespace frieze

#include "support/large_tensor.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#if FRIEZE_WITH_CUDA
#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/core/cuda/kernel.h>
#include <frieze/core/error.h>
#include <frieze/graph/cuda/reformat.h>
#include <frieze/graph/reformat.h>
#include <frieze/graph/verify.h>
#include "support/parity_record.h"
#endif

namespace frieze::test {

#if FRIEZE_WITH_CUDA
namespace {

constexpr std::int64_t kPeriod = 1048573;  // a prime, so that an offset that wrapped at a power of two reads other values

// The pattern of one tensor: element i of the memory, whatever its format, is value i % kPeriod.
class Pattern {
 public:
  Pattern(DType dtype, std::uint64_t seed)
      : values_({Shape{kPeriod}, dtype, Format::nchw}, random_values(kPeriod, seed, Fill::normal, dtype, 1)) {}

  void fill(const cuda::DeviceBuffer& memory) const {
    const std::size_t once = std::min(values_.bytes(), memory.bytes());
    CUDA_CHECK(cudaMemcpy(memory.data(), values_.data(), once, cudaMemcpyHostToDevice));
    for (std::size_t done = once; done < memory.bytes(); done *= 2) {  // done stays a multiple of the period
      const std::size_t more = std::min(done, memory.bytes() - done);
      CUDA_CHECK(cudaMemcpy(memory.as<char>() + done, memory.data(), more, cudaMemcpyDeviceToDevice));
    }
  }
  // `count` elements from element `first` on.
  void copy(std::int64_t first, std::int64_t count, char* to) const {
    const std::size_t size = size_of(values_.spec().dtype);
    while (count > 0) {
      const std::int64_t at = first % kPeriod, run = std::min(count, kPeriod - at);
      std::memcpy(to, static_cast<const char*>(values_.data()) + static_cast<std::size_t>(at) * size, static_cast<std::size_t>(run) * size);
      to += static_cast<std::size_t>(run) * size;
      first += run;
      count -= run;
    }
  }

 private:
  HostTensor values_;
};

// Rows [row, row + rows) of image n, as an image of its own: copy(first element, count, destination) for each run of memory.
template <class Copy>
HostTensor band(const TensorSpec& spec, std::int64_t n, std::int64_t row, std::int64_t rows, Copy&& copy) {
  const Shape& s = spec.shape;
  HostTensor tensor({{1, s.c(), rows, s.w()}, spec.dtype, spec.format});
  char* to = static_cast<char*>(tensor.data());
  if (spec.format == Format::nhwc) {
    copy((n * s.h() + row) * s.w() * s.c(), rows * s.w() * s.c(), to);
    return tensor;
  }
  for (std::int64_t c = 0; c < s.c(); ++c) {
    copy(((n * s.c() + c) * s.h() + row) * s.w(), rows * s.w(), to);
    to += static_cast<std::size_t>(rows * s.w()) * size_of(spec.dtype);
  }
  return tensor;
}

struct Place {
  std::int64_t n, unit;  // image, and row in units of both tensors
  friend auto operator<=>(const Place&, const Place&) = default;
};

// Where the element at `offset` of the memory lies.
Place place_of(const TensorSpec& spec, std::int64_t offset, std::int64_t rows_per_unit) {
  const Shape& s = spec.shape;
  const std::int64_t row = spec.format == Format::nhwc ? offset / (s.w() * s.c()) : offset / s.w();
  const std::int64_t n = row / (spec.format == Format::nhwc ? s.h() : s.h() * s.c());
  return {n, row % s.h() / rows_per_unit};
}

class LargeRun {
 public:
  LargeRun(const Layer& layer, const LargeCase& c) : layer_(layer), case_(c) {
    for (const Shape& shape : c.inputs) in_.push_back({shape, c.dtype, c.format});
    out_ = layer.infer(in_).out[0];
    const bool reformats = dynamic_cast<const Reformat*>(&layer) != nullptr;
    out_.format = !reformats ? c.format : c.format == Format::nchw ? Format::nhwc : Format::nchw;
    if (out_.shape.rank() == 4) units_ = std::min(in_[0].shape.h(), out_.shape.h());  // means have no rows
    int device = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    device_ = cuda::device_info(device);
    cuda::PrepareArgs prepare{in_, {&out_, 1}, {}, &device_, stream_.get()};
    prepare.tune = false;
    kernel_ = reformats ? cuda::make_reformat_kernel(in_[0], out_) : cuda::kernel_registry().prepare(layer, prepare);
  }

  std::size_t bytes() const {
    std::size_t sum = static_cast<std::size_t>(out_.bytes()) + kernel_->workspace_bytes();
    for (const TensorSpec& spec : in_) sum += static_cast<std::size_t>(spec.bytes());
    return sum;
  }
  std::string describe() const { return kernel_->describe(); }

  // Rows of the output are compared where offsets reach a power of two.
  void compare_rows() {
    for (std::size_t i = 0; i < in_.size(); ++i) {
      patterns_.emplace_back(case_.dtype, 17 + i);
      inputs_.emplace_back(static_cast<std::size_t>(in_[i].bytes()));
      patterns_[i].fill(inputs_[i]);
    }
    launch();
    for (const Place& place : places()) compare(place);
  }

  // For sums over whole planes: 1024 at the start, across element 2^31 and at the end of a tensor of zeros. All sums are exact.
  void compare_means() {
    const Shape& s = in_[0].shape;
    const std::int64_t runs[][2] = {{0, 70001}, {kTwoTo31 - 1234, 2234}, {s.elements() - 3003, 3003}};
    const float value = 1024;
    const HostTensor values({Shape{70001}, case_.dtype, Format::nchw}, std::vector<float>(70001, value));
    inputs_.emplace_back(static_cast<std::size_t>(in_[0].bytes()));
    CUDA_CHECK(cudaMemset(inputs_[0].data(), 0, inputs_[0].bytes()));
    std::vector<double> sums(static_cast<std::size_t>(s.c()));
    for (const auto& [first, count] : runs) {
      const std::size_t size = size_of(case_.dtype);
      char* to = inputs_[0].as<char>() + static_cast<std::size_t>(first) * size;
      CUDA_CHECK(cudaMemcpy(to, values.data(), static_cast<std::size_t>(count) * size, cudaMemcpyHostToDevice));
      for (std::int64_t i = first; i < first + count; ++i) {
        sums[static_cast<std::size_t>(case_.format == Format::nhwc ? i % s.c() : i / (s.h() * s.w()))] += value;
      }
    }
    launch();
    HostTensor got({out_.shape, out_.dtype, Format::nchw});
    output_.download(got.data(), got.bytes());
    std::vector<float> means;
    for (const double sum : sums) means.push_back(static_cast<float>(sum / static_cast<double>(s.h() * s.w())));
    judge(got.floats(), means, "the means");
  }

 private:
  void launch() {
    std::vector<TensorView> views;
    for (std::size_t i = 0; i < in_.size(); ++i) views.emplace_back(inputs_[i].data(), in_[i]);
    output_ = cuda::DeviceBuffer(static_cast<std::size_t>(out_.bytes()));
    const cuda::DeviceBuffer workspace(kernel_->workspace_bytes());
    CUDA_CHECK(cudaMemset(output_.data(), 0xFF, output_.bytes()));
    if (workspace.bytes() > 0) CUDA_CHECK(cudaMemset(workspace.data(), 0xFF, workspace.bytes()));
    CUDA_CHECK(cudaDeviceSynchronize());  // copies and fills ran on another stream
    const TensorView made(output_.data(), out_);
    kernel_->launch({views, {&made, 1}, workspace.data()}, stream_.get());
    CUDA_CHECK(cudaStreamSynchronize(stream_.get()));
  }

  std::set<Place> places() const {
    std::set<Place> all{{0, 0}, {out_.shape.n() - 1, std::max<std::int64_t>(0, units_ - kUnits)}};
    std::vector<TensorSpec> tensors = in_;
    tensors.push_back(out_);
    for (const TensorSpec& spec : tensors) {
      const std::int64_t size = static_cast<std::int64_t>(size_of(spec.dtype));
      for (const std::int64_t offset : {kTwoTo31, kTwoTo31 / size, 2 * kTwoTo31 / size}) {
        if (offset >= spec.shape.elements()) continue;
        Place at = place_of(spec, offset, spec.shape.h() / units_);
        at.unit = std::clamp<std::int64_t>(at.unit - 1, 0, std::max<std::int64_t>(0, units_ - kUnits));
        all.insert(at);
      }
    }
    return all;
  }

  void compare(const Place& place) {
    const std::int64_t units = std::min(kUnits, units_ - place.unit), in_rows = in_[0].shape.h() / units_,
                       out_rows = out_.shape.h() / units_;
    const std::int64_t first = std::max<std::int64_t>(0, place.unit * in_rows - case_.halo);
    const std::int64_t last = std::min(in_[0].shape.h(), (place.unit + units) * in_rows + case_.halo);
    std::vector<HostTensor> inputs;
    std::vector<TensorView> views;
    std::vector<TensorSpec> specs;
    for (std::size_t i = 0; i < in_.size(); ++i) {
      inputs.push_back(band(in_[i], place.n, first, last - first,
                            [&](std::int64_t from, std::int64_t count, char* to) { patterns_[i].copy(from, count, to); }));
      specs.push_back(inputs.back().spec());
    }
    for (const HostTensor& input : inputs) views.push_back(input.view());
    const HostTensor expected({layer_.infer(specs).out[0].shape, DType::f32, Format::nchw});
    const TensorView made = expected.view();
    layer_.reference({views, {&made, 1}, case_.dtype});
    // Without the rows of the halo.
    const std::int64_t skip = (place.unit * in_rows - first) / in_rows * out_rows;
    const HostTensor middle = band(expected.spec(), 0, skip, units * out_rows, [&](std::int64_t from, std::int64_t count, char* to) {
      std::memcpy(to, static_cast<const float*>(expected.data()) + from, static_cast<std::size_t>(count) * sizeof(float));
    });
    const HostTensor got =
        band(out_, place.n, place.unit * out_rows, units * out_rows, [&](std::int64_t from, std::int64_t count, char* to) {
          const std::size_t size = size_of(out_.dtype);
          CUDA_CHECK(cudaMemcpy(to, output_.as<char>() + static_cast<std::size_t>(from) * size, static_cast<std::size_t>(count) * size,
                                cudaMemcpyDeviceToHost));
        });
    judge(got.floats(), middle.floats(), concat_text("output rows from ", place.unit * out_rows, " of image ", place.n));
  }

  void judge(std::span<const float> got, std::span<const float> expected, const std::string& what) {
    const ParityReport report = test::compare(got, expected, out_.dtype, layer_.budget(in_));
    EXPECT_LE(report.share, 1) << layer_.type_name() << ' ' << layer_.describe() << " by " << describe() << ", x " << in_[0] << ", y "
                               << out_ << ": " << what << ", max abs " << report.max_abs << ", worst at " << report.worst_index;
    const ParityCase c{.inputs = case_.inputs, .dtype = case_.dtype, .format = case_.format};
    record_parity(layer_.type_name(), case_.dtype, device_.name, c, report, report.share <= 1);
  }

  static constexpr std::int64_t kUnits = 3;

  const Layer& layer_;
  const LargeCase& case_;
  cuda::DeviceInfo device_;
  cuda::Stream stream_ = cuda::make_stream();
  std::vector<TensorSpec> in_;
  TensorSpec out_;
  std::int64_t units_ = 1;
  std::unique_ptr<cuda::Kernel> kernel_;
  std::vector<Pattern> patterns_;
  std::vector<cuda::DeviceBuffer> inputs_;
  cuda::DeviceBuffer output_;
};

}  // namespace

namespace {

template <class Compare>
void run_large(const Layer& layer, const LargeCase& c, const std::string& path, Compare&& compare) {
  try {
    LargeRun run(layer, c);
    EXPECT_NE(run.describe().find(path), std::string::npos) << "runs: " << run.describe() << "\nnot: " << path;
    std::size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    const double needs = static_cast<double>(run.bytes()) / (1 << 30), has = static_cast<double>(free) / (1 << 30);
    if (needs + 0.5 > has) GTEST_SKIP() << "needs " << needs << " GiB of device memory, " << has << " are free";
    compare(run);
  } catch (const std::exception& e) {
    ADD_FAILURE() << layer.type_name() << ' ' << layer.describe() << " on " << c.inputs[0] << ": " << e.what();
  }
}

}  // namespace

void expect_large(const Layer& layer, const LargeCase& c, const std::string& path) {
  run_large(layer, c, path, [](LargeRun& run) { run.compare_rows(); });
}

void expect_large_means(const Layer& pool, const LargeCase& c, const std::string& path) {
  run_large(pool, c, path, [](LargeRun& run) { run.compare_means(); });
}

#else  // without CUDA

void expect_large(const Layer& layer, const LargeCase&, const std::string&) {
  ADD_FAILURE() << layer.type_name() << ": this build has no CUDA";
}
void expect_large_means(const Layer& pool, const LargeCase& c, const std::string& path) { expect_large(pool, c, path); }

#endif

}  // namespace frieze::test

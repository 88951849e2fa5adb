#include <frieze/models/denoiser/denoise.h>

#include <algorithm>
#include <cmath>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/graph/finite.h>
#include <frieze/graph/memory_plan.h>

namespace frieze {
namespace {

constexpr int kMinTile = 256;
// Of neighbouring tiles. At a cut edge the trained network is off by 20 levels of 255, 48 pixels further by 0.2, 72 further by 0.01.
constexpr int kOverlap = 128;

int to_stride(int extent) { return round_up(extent, int{Denoiser::kStride}); }

// Where pixel i of a continued row of n pixels comes from: 0 1 2 3 2 1 0 1 …
int mirrored(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i %= period;
  return i < n ? i : period - i;
}

std::vector<InputSpec> input_spec(Size2d tile, DType dtype) { return {{"x", {1, 3, tile.h, tile.w}, dtype}}; }

// The network's input for one tile whose top left corner lies at (top, left).
std::vector<float> cut(std::span<const float> planes, Size2d extent, int top, int left, Size2d tile) {
  const std::size_t pixels = static_cast<std::size_t>(tile.h) * static_cast<std::size_t>(tile.w);
  std::vector<float> x(3 * pixels);
  std::size_t at = 0;
  for (std::size_t c = 0; c < 3; ++c) {
    for (int i = 0; i < tile.h; ++i) {
      const std::size_t row = c * static_cast<std::size_t>(extent.h) + static_cast<std::size_t>(mirrored(top + i, extent.h));
      const float* from = planes.data() + row * static_cast<std::size_t>(extent.w);
      for (int j = 0; j < tile.w; ++j) x[at++] = from[static_cast<std::size_t>(mirrored(left + j, extent.w))];
    }
  }
  return x;
}

}  // namespace

std::vector<float> padded(std::span<const float> planes, Size2d from, Size2d to) {
  const std::size_t pixels = static_cast<std::size_t>(from.h) * static_cast<std::size_t>(from.w);
  check<ShapeError>(pixels > 0 && planes.size() % pixels == 0 && to.h >= from.h && to.w >= from.w, "padded: ", planes.size(),
                    " values cannot go from ", from.h, "x", from.w, " to ", to.h, "x", to.w);
  std::vector<float> out;
  out.reserve(planes.size() / pixels * static_cast<std::size_t>(to.h) * static_cast<std::size_t>(to.w));
  for (std::size_t c = 0; c < planes.size() / pixels; ++c) {
    for (int i = 0; i < to.h; ++i) {
      const std::size_t row = c * pixels + static_cast<std::size_t>(mirrored(i, from.h)) * static_cast<std::size_t>(from.w);
      for (int j = 0; j < to.w; ++j) out.push_back(planes[row + static_cast<std::size_t>(mirrored(j, from.w))]);
    }
  }
  return out;
}

void limit_removed(std::span<const float> noisy, std::vector<float>& denoised, double sigma, std::span<const float> weights) {
  check<ShapeError>(noisy.size() == denoised.size(), "limit_removed: ", noisy.size(), " and ", denoised.size(), " values");
  check<ShapeError>(weights.empty() || noisy.size() % weights.size() == 0, "limit_removed: ", weights.size(), " weights for ", noisy.size(),
                    " values");
  double sum = 0, total = 0;
  for (std::size_t i = 0; i < noisy.size(); ++i) {
    const double weight = weights.empty() ? 1 : weights[i % weights.size()];
    sum += weight * std::pow(double{noisy[i]} - double{denoised[i]}, 2);
    total += weight;
  }
  const double rms = total > 0 ? std::sqrt(sum / total) : 0;
  if (rms <= sigma) return;
  const auto share = static_cast<float>(sigma / rms);
  for (std::size_t i = 0; i < noisy.size(); ++i) denoised[i] = noisy[i] + share * (denoised[i] - noisy[i]);
}

std::vector<TileSpan> tile_spans(int extent, int tile, int overlap, int stride) {
  check<OptionError>(tile >= 1 && extent >= tile && overlap >= 0 && overlap <= tile / 2 && stride >= 1 && extent % stride == 0 &&
                         tile % stride == 0 && overlap % stride == 0,
                     "tile_spans: tiles of ", tile, " with an overlap of ", overlap, " do not fit an extent of ", extent,
                     " and a stride of ", stride);
  const int step = tile - overlap;
  const int count = ceil_div(extent - overlap, step);
  std::vector<TileSpan> spans;
  for (int i = 0; i < count; ++i) {
    const auto room = static_cast<std::int64_t>((extent - tile) / stride);
    const int begin = count == 1 ? 0 : static_cast<int>(room * i / (count - 1)) * stride;
    spans.push_back({begin, std::vector<float>(static_cast<std::size_t>(tile), 1.0f)});
  }
  // A ramp at each inner end of a tile, then every pixel's shares made to add up to 1.
  const int margin = overlap * 3 / 8, ramp = overlap - 2 * margin;
  const auto rise = [&](int distance) {
    return ramp == 0 ? 1.0f : std::clamp(static_cast<float>(distance - margin + 1) / static_cast<float>(ramp + 1), 0.0f, 1.0f);
  };
  std::vector<float> sums(static_cast<std::size_t>(extent), 0.0f);
  for (int t = 0; t < count; ++t) {
    TileSpan& span = spans[static_cast<std::size_t>(t)];
    for (int i = 0; i < tile; ++i) {
      float& weight = span.weights[static_cast<std::size_t>(i)];
      if (t > 0) weight *= rise(i);
      if (t + 1 < count) weight *= rise(tile - 1 - i);
      sums[static_cast<std::size_t>(span.begin + i)] += weight;
    }
  }
  for (TileSpan& span : spans) {
    for (int i = 0; i < tile; ++i) span.weights[static_cast<std::size_t>(i)] /= sums[static_cast<std::size_t>(span.begin + i)];
  }
  return spans;
}

PhotoDenoiser::PhotoDenoiser(Device device, DenoiseOptions options)
    : device_(device),
      options_(options),
      engine_(model_, device,
              {.passes = options.passes, .tune = options.tune, .tuning_cache = options.tuning_cache, .allow_tf32 = options.allow_tf32},
              options.shapes) {
  check<OptionError>(options.tile >= kMinTile && options.tile % Denoiser::kStride == 0, "a tile has at least ", kMinTile,
                     " pixels and is a multiple of ", Denoiser::kStride, ", got ", options.tile);
  load_trained(model_);
}

std::int64_t PhotoDenoiser::planned_bytes(Size2d tile) const {
  const Plan plan = optimize(trace(model_, input_spec(tile, options_.dtype)), options_.passes);
  MemoryBill bill;
  bill.arena = plan_memory(plan, {}).arena_bytes;
  for (const auto* ports : {&plan.inputs, &plan.outputs}) {
    for (const PlanPort& port : *ports) bill.ports += plan.spec(port.value).bytes();
  }
  const std::int64_t element = device_.is_cuda() ? static_cast<std::int64_t>(size_of(options_.dtype)) : 4;  // the reference keeps f32
  model_.visit_parameters([&](const std::string&, const Parameter& p) { bill.weights += p.shape.elements() * element; });
  return bill.total();
}

Size2d PhotoDenoiser::tile_for(Size2d extent) const {
  for (int side = options_.tile;; side = std::max(kMinTile, side / 2 / Denoiser::kStride * Denoiser::kStride)) {
    const Size2d tile{std::min(side, to_stride(extent.h)), std::min(side, to_stride(extent.w))};
    if (options_.max_memory == 0) return tile;
    const std::int64_t needed = planned_bytes(tile);
    if (needed <= options_.max_memory) return tile;
    check<OptionError>(side > kMinTile, "--max-memory: ", options_.max_memory, " bytes, but even a tile of ", tile.w, "x", tile.h,
                       " needs ", needed);
  }
}

std::vector<InputSpec> PhotoDenoiser::session_key(Size2d extent) const { return input_spec(tile_for(extent), options_.dtype); }

std::vector<float> PhotoDenoiser::operator()(std::span<const float> planes, Size2d extent, const Progress& progress) {
  const std::size_t height = static_cast<std::size_t>(std::max(extent.h, 0)), width = static_cast<std::size_t>(std::max(extent.w, 0));
  check<ShapeError>(height > 0 && width > 0 && planes.size() == 3 * height * width, "the denoiser expects [3,H,W] values, got ",
                    planes.size(), " for ", extent.w, "x", extent.h, " pixels");
  const Size2d tile = tile_for(extent);
  // Tiles of the padded picture, on multiples of the stride: the network sees each part as it would in the whole.
  const auto along = [](int pixels, int tile_pixels) {
    const int stride = Denoiser::kStride;
    return tile_spans(to_stride(pixels), tile_pixels, std::min(kOverlap, tile_pixels / 2 / stride * stride), stride);
  };
  const std::vector<TileSpan> rows = along(extent.h, tile.h), columns = along(extent.w, tile.w);
  Session net = engine_.session(input_spec(tile, options_.dtype));
  const auto tiles = static_cast<std::int64_t>(rows.size() * columns.size());
  std::int64_t done = 0;
  std::vector<float> out(planes.size(), 0.0f);
  for (const TileSpan& row : rows) {
    for (const TileSpan& column : columns) {
      const HostTensor x(net.input().spec(), cut(planes, extent, row.begin, column.begin, tile));
      net.input().copy_from(x);
      net.run();
      // To the input as the network saw it, not to the exact picture: the network takes what rounding did to its input for noise, and
      // most of that for something to remove.
      std::vector<float> clean = x.floats();
      const std::vector<float> change = net.output().floats();
      (void)check_finite(net, change);
      for (std::size_t i = 0; i < clean.size(); ++i) clean[i] += change[i];
      std::size_t from = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        for (std::size_t i = 0; i < row.weights.size(); ++i) {
          const std::size_t y = static_cast<std::size_t>(row.begin) + i;
          for (std::size_t j = 0; j < column.weights.size(); ++j, ++from) {
            const std::size_t x = static_cast<std::size_t>(column.begin) + j;
            if (y < height && x < width) out[(c * height + y) * width + x] += row.weights[i] * column.weights[j] * clean[from];
          }
        }
      }
      if (progress) progress(++done, tiles);
    }
  }
  return out;
}

}  // namespace frieze

#include "tools/image/quality.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <random>

#include <frieze/core/error.h>

#include "tools/image/alpha.h"

namespace frieze::tools {
namespace {

void check_same_size(const Image& a, const Image& b) {
  check<ShapeError>(a.width == b.width && a.height == b.height && a.width > 0 && a.height > 0, "cannot compare a picture of ", a.width, "x",
                    a.height, " pixels with one of ", b.width, "x", b.height);
}

constexpr int kWindow = 11;

void check_window(const Image& a) {
  check<ShapeError>(a.width >= kWindow && a.height >= kWindow, "SSIM needs a picture of at least 11x11 pixels, got ", a.width, "x",
                    a.height);
}

// Weighted means over windows inside of a plane of width * height values: [height - 10, width - 10].
std::vector<double> window_means(const std::vector<double>& plane, std::size_t width, std::size_t height) {
  static const std::array<double, kWindow> weights = [] {
    std::array<double, kWindow> w{};
    double sum = 0;
    for (int i = 0; i < kWindow; ++i) sum += w[static_cast<std::size_t>(i)] = std::exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
    for (double& v : w) v /= sum;
    return w;
  }();
  const std::size_t out_width = width - (kWindow - 1), out_height = height - (kWindow - 1);
  std::vector<double> rows(height * out_width, 0.0), out(out_height * out_width, 0.0);
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t x = 0; x < out_width; ++x) {
      for (std::size_t k = 0; k < kWindow; ++k) rows[y * out_width + x] += weights[k] * plane[y * width + x + k];
    }
  }
  for (std::size_t y = 0; y < out_height; ++y) {
    for (std::size_t k = 0; k < kWindow; ++k) {
      for (std::size_t x = 0; x < out_width; ++x) out[y * out_width + x] += weights[k] * rows[(y + k) * out_width + x];
    }
  }
  return out;
}

// How much each pixel counts: as much as both pictures show of it.
std::vector<double> shares(const Image& a, const Image& b) {
  std::vector<double> out(a.pixel_count(), 1.0);
  for (const Image* image : {&a, &b}) {
    const std::size_t channels = static_cast<std::size_t>(image->channels);
    for (std::size_t p = 0; image->has_alpha() && p < out.size(); ++p) out[p] *= double{image->pixels[p * channels + channels - 1]};
  }
  return out;
}

// The mean over windows, each with the share of the pixel at its centre.
double ssim_of_plane(const std::vector<double>& a, const std::vector<double>& b, const std::vector<double>& share, std::size_t width,
                     std::size_t height) {
  const auto products = [](const std::vector<double>& p, const std::vector<double>& q) {
    std::vector<double> out(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) out[i] = p[i] * q[i];
    return out;
  };
  const auto mean_a = window_means(a, width, height), mean_b = window_means(b, width, height);
  const auto mean_aa = window_means(products(a, a), width, height), mean_bb = window_means(products(b, b), width, height);
  const auto mean_ab = window_means(products(a, b), width, height);
  constexpr double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
  double sum = 0, total = 0;
  const std::size_t out_width = width - (kWindow - 1);
  for (std::size_t i = 0; i < mean_a.size(); ++i) {
    const double weight = share[(i / out_width + kWindow / 2) * width + i % out_width + kWindow / 2];
    total += weight;
    const double var_a = mean_aa[i] - mean_a[i] * mean_a[i], var_b = mean_bb[i] - mean_b[i] * mean_b[i];
    const double covariance = mean_ab[i] - mean_a[i] * mean_b[i];
    sum += weight * (2 * mean_a[i] * mean_b[i] + c1) * (2 * covariance + c2) /
           ((mean_a[i] * mean_a[i] + mean_b[i] * mean_b[i] + c1) * (var_a + var_b + c2));
  }
  return total > 0 ? sum / total : 1;
}

// Of the least visible of four pixels.
float block_visibility(const std::vector<float>& seen, std::size_t width, std::size_t x, std::size_t y) {
  const float* row = seen.data() + y * width + x;
  return std::min(std::min(row[0], row[1]), std::min(row[width], row[width + 1]));
}

}  // namespace

void check_comparable(const Image& a, const Image& b) {
  check_same_size(a, b);
  check_window(a);
}

double psnr(const Image& a, const Image& b) {
  check_same_size(a, b);
  const std::vector<float> x = to_rgb_planes(a), y = to_rgb_planes(b);
  const std::vector<double> share = shares(a, b);
  double sum = 0, total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double weight = share[i % share.size()];
    sum += weight * (double{x[i]} - double{y[i]}) * (double{x[i]} - double{y[i]});
    total += weight;
  }
  return sum == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(sum / total);
}

double ssim(const Image& a, const Image& b) {
  check_comparable(a, b);
  const std::vector<float> x = to_rgb_planes(a), y = to_rgb_planes(b);
  const std::size_t pixels = a.pixel_count();
  const std::vector<double> share = shares(a, b);
  double sum = 0;
  for (std::size_t c = 0; c < 3; ++c) {
    const auto plane = [&](const std::vector<float>& from) {
      const auto first = from.begin() + static_cast<std::ptrdiff_t>(c * pixels);
      std::vector<double> values(first, first + static_cast<std::ptrdiff_t>(pixels));
      for (std::size_t p = 0; p < pixels; ++p) values[p] = share[p] > 0 ? values[p] : 0;  // what is hidden is equal
      return values;
    };
    sum += ssim_of_plane(plane(x), plane(y), share, static_cast<std::size_t>(a.width), static_cast<std::size_t>(a.height));
  }
  return sum / 3;
}

double estimate_noise(const Image& image) {
  const std::vector<float> planes = to_rgb_planes(image), seen = visibility(image);
  const std::size_t width = static_cast<std::size_t>(image.width), height = static_cast<std::size_t>(image.height);
  // Where hardly anything is visible in full, what is barely visible has to do.
  const auto blocks_seen = [&](float least) {
    std::size_t count = 0;
    for (std::size_t y = 0; y + 1 < height; y += 2) {
      for (std::size_t x = 0; x + 1 < width; x += 2) count += block_visibility(seen, width, x, y) >= least ? 1 : 0;
    }
    return count;
  };
  constexpr std::size_t kEnough = 64;
  const float least = !image.has_alpha() || blocks_seen(1) >= kEnough ? 1.0f : std::numeric_limits<float>::min();
  std::vector<float> detail;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t y = 0; y + 1 < height; y += 2) {
      const float* row = planes.data() + (c * height + y) * width;
      for (std::size_t x = 0; x + 1 < width; x += 2) {
        if (block_visibility(seen, width, x, y) < least) continue;
        detail.push_back(std::abs(row[x] - row[x + 1] - row[x + width] + row[x + width + 1]) / 2);
      }
    }
  }
  if (detail.empty()) return 0;
  const auto middle = detail.begin() + static_cast<std::ptrdiff_t>(detail.size() / 2);
  std::nth_element(detail.begin(), middle, detail.end());
  return static_cast<double>(*middle) / 0.6745;
}

Image add_noise(Image image, double sigma, std::uint64_t seed) {
  // mt19937_64 and Box-Muller are the same everywhere; std::normal_distribution is not.
  std::mt19937_64 bits(seed);
  const auto uniform = [&] { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; };  // (0, 1)
  const std::size_t channels = static_cast<std::size_t>(image.channels), colours = channels - (image.has_alpha() ? 1 : 0);
  double spare = 0;
  bool has_spare = false;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    if (i % channels >= colours) continue;
    double normal = spare;
    if (!has_spare) {
      const double radius = std::sqrt(-2 * std::log(uniform())), angle = 2 * std::numbers::pi * uniform();
      normal = radius * std::cos(angle);
      spare = radius * std::sin(angle);
    }
    has_spare = !has_spare;
    image.pixels[i] = static_cast<float>(image.pixels[i] + sigma * normal);
  }
  return image;
}

Image side_by_side(const std::vector<Image>& images) {
  check<ShapeError>(!images.empty(), "side_by_side: no pictures");
  const bool grey = std::all_of(images.begin(), images.end(), [](const Image& image) { return image.channels <= 2; });
  const std::size_t colours = grey ? 1 : 3;
  Image out{0, images.front().height, static_cast<int>(colours), {}};
  out.tags = images.front().tags;
  for (const Image& image : images) {
    check<ShapeError>(image.height == out.height, "side_by_side: pictures of ", out.height, " and ", image.height, " rows");
    out.width += image.width;
    out.depth = std::max(out.depth, image.depth);
  }
  out.pixels.resize(out.pixel_count() * colours);
  std::size_t left = 0;
  for (const Image& image : images) {
    const std::vector<float> planes = to_rgb_planes(flattened(image, {1, 1, 1}));
    const std::size_t width = static_cast<std::size_t>(image.width), pixels = image.pixel_count();
    for (std::size_t p = 0; p < pixels; ++p) {
      const std::size_t to = p / width * static_cast<std::size_t>(out.width) + left + p % width;
      for (std::size_t c = 0; c < colours; ++c) out.pixels[to * colours + c] = planes[c * pixels + p];
    }
    left += width;
  }
  return out;
}

}  // namespace frieze::tools

#include "tools/image/alpha.h"

#include <algorithm>
#include <utility>

namespace frieze::tools {
namespace {

// Colours times their weight, and the weights; one size of the pyramid.
struct Level {
  std::size_t width = 0, height = 0, colours = 0;
  std::vector<float> sums, weights;

  Level(std::size_t w, std::size_t h, std::size_t c) : width(w), height(h), colours(c), sums(w * h * c), weights(w * h) {}
};

Level halved(const Level& fine) {
  Level coarse((fine.width + 1) / 2, (fine.height + 1) / 2, fine.colours);
  for (std::size_t y = 0; y < fine.height; ++y) {
    for (std::size_t x = 0; x < fine.width; ++x) {
      const std::size_t from = y * fine.width + x, to = y / 2 * coarse.width + x / 2;
      coarse.weights[to] += fine.weights[from];
      for (std::size_t c = 0; c < fine.colours; ++c) coarse.sums[to * fine.colours + c] += fine.sums[from * fine.colours + c];
    }
  }
  // A weight stays a share: four pixels that are seen are as good as one.
  for (std::size_t p = 0; p < coarse.weights.size(); ++p) {
    if (coarse.weights[p] <= 1) continue;
    for (std::size_t c = 0; c < fine.colours; ++c) coarse.sums[p * fine.colours + c] /= coarse.weights[p];
    coarse.weights[p] = 1;
  }
  return coarse;
}

// Completes `fine`, whose weights become 1, with what the complete `coarse` has at the same place, between its pixels' centres.
void fill_from(Level& fine, const Level& coarse) {
  const auto place = [](std::size_t i, std::size_t extent) {  // two neighbours of the coarser row, 3/4 and 1/4
    const std::size_t near = i / 2;
    const std::size_t far = i % 2 == 0 ? (near == 0 ? 0 : near - 1) : std::min(near + 1, extent - 1);
    return std::pair{near, far};
  };
  for (std::size_t y = 0; y < fine.height; ++y) {
    const auto [y0, y1] = place(y, coarse.height);
    for (std::size_t x = 0; x < fine.width; ++x) {
      const std::size_t p = y * fine.width + x;
      const float missing = 1 - fine.weights[p];
      if (missing <= 0) continue;
      const auto [x0, x1] = place(x, coarse.width);
      for (std::size_t c = 0; c < fine.colours; ++c) {
        const auto at = [&](std::size_t row, std::size_t column) { return coarse.sums[(row * coarse.width + column) * fine.colours + c]; };
        const float smooth = 0.75f * (0.75f * at(y0, x0) + 0.25f * at(y0, x1)) + 0.25f * (0.75f * at(y1, x0) + 0.25f * at(y1, x1));
        fine.sums[p * fine.colours + c] += missing * smooth;
      }
      fine.weights[p] = 1;
    }
  }
}

}  // namespace

std::vector<float> visibility(const Image& image) {
  std::vector<float> seen(image.pixel_count(), 1.0f);
  if (!image.has_alpha()) return seen;
  const std::size_t channels = static_cast<std::size_t>(image.channels);
  for (std::size_t p = 0; p < seen.size(); ++p) {
    const float alpha = image.pixels[p * channels + channels - 1];
    seen[p] = std::min(64 * alpha * alpha, 1.0f);
  }
  return seen;
}

Image with_hidden_filled(Image image) {
  if (!image.has_alpha()) return image;
  const std::vector<float> seen = visibility(image);
  if (std::all_of(seen.begin(), seen.end(), [](float v) { return v >= 1; })) return image;
  const std::size_t channels = static_cast<std::size_t>(image.channels), colours = channels - 1;
  std::vector<Level> levels;
  levels.emplace_back(static_cast<std::size_t>(image.width), static_cast<std::size_t>(image.height), colours);
  levels.front().weights = seen;
  for (std::size_t p = 0; p < seen.size(); ++p) {
    for (std::size_t c = 0; c < colours; ++c) levels.front().sums[p * colours + c] = seen[p] * image.pixels[p * channels + c];
  }
  while (levels.back().width > 1 || levels.back().height > 1) levels.push_back(halved(levels.back()));
  Level& whole = levels.back();
  for (float& sum : whole.sums) sum = whole.weights[0] > 0 ? sum / whole.weights[0] : 0.0f;
  for (std::size_t i = levels.size() - 1; i > 0; --i) fill_from(levels[i - 1], levels[i]);
  for (std::size_t p = 0; p < seen.size(); ++p) {
    for (std::size_t c = 0; c < colours; ++c) image.pixels[p * channels + c] = levels.front().sums[p * colours + c];
  }
  return image;
}

Image flattened(Image image, const std::array<float, 3>& colour) {
  if (!image.has_alpha()) return image;
  const std::size_t channels = static_cast<std::size_t>(image.channels);
  const bool grey = image.channels == 2 && colour[0] == colour[1] && colour[1] == colour[2];
  const std::size_t colours = grey ? 1 : 3;
  std::vector<float> pixels(image.pixel_count() * colours);
  for (std::size_t p = 0; p < image.pixel_count(); ++p) {
    const float* from = image.pixels.data() + p * channels;
    const float alpha = from[channels - 1];
    for (std::size_t c = 0; c < colours; ++c) pixels[p * colours + c] = alpha * from[image.channels == 2 ? 0 : c] + (1 - alpha) * colour[c];
  }
  image.pixels = std::move(pixels);
  image.channels = static_cast<int>(colours);
  return image;
}

}  // namespace frieze::tools

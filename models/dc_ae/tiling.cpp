#include <frieze/models/dc_ae/tiling.h>

#include <algorithm>
#include <cstring>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>

namespace frieze {
namespace {

// Of one axis, the same for both. Inputs are cut in units of pixels (encoding) or latents (decoding), outputs in the other.
struct Cut {
  std::int64_t tile = 0, stride = 0;   // of the input
  std::int64_t pad = 1;                // tiles are padded with zeros to a multiple of it
  std::int64_t overlap = 0, keep = 0;  // of the output: how far tiles are blended, and what is left of each
};

float* plane(const HostTensor& t, std::int64_t index) {
  return static_cast<float*>(t.data()) + index * t.spec().shape.h() * t.spec().shape.w();
}

HostTensor make(const Shape& like, std::int64_t h, std::int64_t w) { return HostTensor({Shape{like.n(), like.c(), h, w}, DType::f32}); }

// Rows [row, row + rows) and columns alike of every plane of `from`, to (to_row, to_column) of `to`.
void copy_window(const HostTensor& from, std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
                 const HostTensor& to, std::int64_t to_row, std::int64_t to_column) {
  const Shape &f = from.spec().shape, &t = to.spec().shape;
  for (std::int64_t p = 0; p < f.n() * f.c(); ++p) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(plane(to, p) + (to_row + r) * t.w() + to_column, plane(from, p) + (row + r) * f.w() + column,
                  static_cast<std::size_t>(columns) * sizeof(float));
    }
  }
}

HostTensor cut_tile(const HostTensor& in, const Cut& cut, std::int64_t row, std::int64_t column) {
  const Shape& s = in.spec().shape;
  const std::int64_t h = std::min(cut.tile, s.h() - row), w = std::min(cut.tile, s.w() - column);
  HostTensor tile = make(s, round_up(h, cut.pad), round_up(w, cut.pad));
  std::memset(tile.data(), 0, tile.bytes());
  copy_window(in, row, column, h, w, tile, 0, 0);
  return tile;
}

// Fades from the neighbour's last rows (or columns) into this tile's first ones; the very first is the neighbour's alone.
void blend(const HostTensor& before, const HostTensor& tile, std::int64_t overlap, bool rows) {
  const Shape &b = before.spec().shape, &t = tile.spec().shape;
  const std::int64_t length = rows ? b.h() : b.w(), e = std::min({length, rows ? t.h() : t.w(), overlap});
  const std::int64_t across = rows ? t.w() : t.h();
  for (std::int64_t p = 0; p < t.n() * t.c(); ++p) {
    for (std::int64_t i = 0; i < e; ++i) {
      const float weight = static_cast<float>(static_cast<double>(i) / static_cast<double>(e));
      for (std::int64_t j = 0; j < across; ++j) {
        const float old = plane(before, p)[rows ? (length - e + i) * b.w() + j : j * b.w() + length - e + i];
        float& value = plane(tile, p)[rows ? i * t.w() + j : j * t.w() + i];
        value = old * (1 - weight) + value * weight;
      }
    }
  }
}

// The tiles of one row of tiles after the other, blended with the one above, then with the one to the left, as those are already blended.
// `limit`: what is kept of the result.
HostTensor run_tiles(const HostTensor& in, const Cut& cut, const RunTile& run, const TileProgress& progress, std::int64_t limit_h,
                     std::int64_t limit_w) {
  const Shape& s = in.spec().shape;
  const std::int64_t down = ceil_div(s.h(), cut.stride), across = ceil_div(s.w(), cut.stride);
  HostTensor out;
  std::vector<HostTensor> above, current;
  std::int64_t to_row = 0;
  for (std::int64_t i = 0; i < down; ++i) {
    std::int64_t to_column = 0, rows = 0;
    current.clear();
    for (std::int64_t j = 0; j < across; ++j) {
      current.push_back(run(cut_tile(in, cut, i * cut.stride, j * cut.stride)));
      const HostTensor& tile = current.back();
      if (i > 0) blend(above[static_cast<std::size_t>(j)], tile, cut.overlap, true);
      if (j > 0) blend(current[static_cast<std::size_t>(j - 1)], tile, cut.overlap, false);
      const Shape& t = tile.spec().shape;
      if (i == 0 && j == 0) out = make(t, limit_h, limit_w);
      rows = std::min({cut.keep, t.h(), limit_h - to_row});
      const std::int64_t columns = std::min({cut.keep, t.w(), limit_w - to_column});
      if (rows > 0 && columns > 0) copy_window(tile, 0, 0, rows, columns, out, to_row, to_column);
      to_column += std::max<std::int64_t>(columns, 0);
      if (progress) progress(static_cast<int>(i * across + j + 1), static_cast<int>(down * across));
    }
    to_row += std::max<std::int64_t>(rows, 0);
    above = std::move(current);
  }
  return out;
}

void check_tiling(const DcAeConfig& config, const DcAeTiling& t) {
  const int f = config.ratio();
  check<OptionError>(t.stride > 0 && t.stride <= t.tile && t.tile % f == 0 && t.stride % f == 0,
                     "tiles need 0 < stride <= size, both multiples of ", f, ", got size ", t.tile, " and stride ", t.stride);
}

}  // namespace

DcAeTiling default_tiling(const DcAeConfig& config) {
  const int f = config.ratio();
  DcAeTiling t;
  t.tile = std::max(t.tile / f, 1) * f;
  t.stride = std::max(t.stride / f, 1) * f;
  return t;
}

bool needs_tiles(std::int64_t height, std::int64_t width, const DcAeTiling& tiling) { return height > tiling.tile || width > tiling.tile; }

HostTensor tiled_encode(const HostTensor& image, const DcAeConfig& config, const DcAeTiling& tiling, const RunTile& run,
                        const TileProgress& progress) {
  check_tiling(config, tiling);
  const Shape& s = image.spec().shape;
  const std::int64_t f = config.ratio(), keep = tiling.stride / f;
  check<ShapeError>(s.h() >= f && s.w() >= f, "DC-AE encodes images of at least ", f, "x", f, " pixels in tiles, got ", s);
  return run_tiles(image, {tiling.tile, tiling.stride, f, tiling.tile / f - keep, keep}, run, progress, s.h() / f, s.w() / f);
}

HostTensor tiled_decode(const HostTensor& latent, const DcAeConfig& config, const DcAeTiling& tiling, const RunTile& run,
                        const TileProgress& progress) {
  check_tiling(config, tiling);
  const Shape& s = latent.spec().shape;
  const std::int64_t f = config.ratio();
  return run_tiles(latent, {tiling.tile / f, tiling.stride / f, 1, tiling.tile - tiling.stride, tiling.stride}, run, progress, s.h() * f,
                   s.w() * f);
}

}  // namespace frieze

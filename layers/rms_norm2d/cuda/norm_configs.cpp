#include <algorithm>
#include <numeric>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>

namespace frieze::cuda {
namespace {

using Path = NormConfig::Path;

// Packs of a thread that nchw_tile has kernels for, in rising order. Each was the choice somewhere on an H100 or H200 (tools/results,
// NOTES.md); those of single elements serve pointers and rows off 16 bytes.
std::vector<int> tile_loads(const NormProblem& p, bool wide) {
  if (!wide) return {8, 16};
  return p.chain == NormChain::full ? std::vector<int>{4, 8} : std::vector<int>{4, 5, 8, 16};
}

// Tiles of any number of lanes with as many rows of threads as the channels need: they divide the pixels among multiprocessors where
// powers of two leave some idle, and no thread has more to load than there is.
void add_exact_tiles(const NormProblem& p, std::vector<NormConfig>& out) {
  const int wide = 16 / static_cast<int>(size_of(p.dtype));
  for (const int k : tile_loads(p, true)) {
    if (k == 5) continue;
    const int most = most_tile_threads(k, p.chain);
    for (int cluster = 1; cluster <= (p.compute_capability >= kFirstWithClusters ? kMostClusterBlocks : 1); ++cluster) {
      const std::int64_t rows = ceil_div(p.channels, std::int64_t{k} * cluster);
      if (rows < 8 || (cluster > 1 && rows * k * (cluster - 1) >= p.channels)) continue;
      for (const int lanes : {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32}) {
        const std::int64_t threads = ceil_div(rows * lanes, 32) * 32;
        if (threads > most || threads < 96 || std::int64_t{lanes} * wide > threads) continue;
        const NormConfig c{Path::nchw_tile, wide, lanes, static_cast<int>(threads), k, lanes * wide, cluster};
        if (std::find(out.begin(), out.end(), c) == out.end()) out.push_back(c);
      }
    }
  }
}

void add_few(const NormProblem& p, std::vector<NormConfig>& out) {
  const bool has_kernel = (p.channels >= 2 && p.channels <= 4) || (p.channels == kMostFewChannels && p.chain != NormChain::full);
  if (!has_kernel) return;
  const int wide = 16 / static_cast<int>(size_of(p.dtype)), channels = static_cast<int>(p.channels);
  if (ceil_div(p.pixels, 30 * wide) * p.images > kMostBlocks) return;  // its warps are counted in 32 bits
  for (const int threads : {64, 128, 256}) {
    out.push_back({Path::nchw_few, wide, 32, threads, channels, 30 * wide * threads / 32});
  }
}

// What nhwc_rows has kernels for, in rising order of loads; `aligned`: of packs.
struct RowLoads {
  int loads, pixels;
};
std::vector<RowLoads> row_loads(bool full, bool aligned) {
  if (!aligned) return {{4, 1}};
  if (full) return {{1, 1}, {1, 2}, {2, 1}, {3, 1}, {4, 1}};
  return {{1, 4}, {2, 1}, {2, 2}, {3, 1}, {4, 1}, {5, 1}};
}

// Windows of whole packs, wherever rows begin; for rows of whole packs where the chain is long (the loop over packs in shared memory has
// its code once). `lanes`, clusters and packs in registers are those that were best anywhere in a search of some 20 shapes (NOTES.md).
void add_windows(const NormProblem& p, std::vector<NormConfig>& out) {
  const int size = static_cast<int>(size_of(p.dtype)), wide = 16 / size;
  const int halo = p.pixels * size % 16 == 0 ? 0 : 2;
  const bool all_parked = p.chain == NormChain::full || size == 4;
  if (halo == 0 && p.chain != NormChain::full) return;
  for (const int threads : {128, 192, 256, 320, 384, 480, 512}) {
    for (const int lanes : {8, 12, 16, 20, 24, 32, 48}) {
      const int rows = threads / lanes, tile = (lanes - halo) * wide, reach = halo > 0 ? tile + wide : tile;
      if (threads % lanes != 0 || (halo > 0 && rows % wide != 0) || rows >= 2 * p.channels) continue;
      if (reach > threads || (lanes > 8 && tile / 2 > p.pixels)) continue;
      for (const int cluster : {1, 2, 3, 4, 5, 8}) {
        if (cluster > 1 && p.compute_capability < kFirstWithClusters) break;
        const std::int64_t loads = ceil_div(p.channels, std::int64_t{rows} * cluster);
        if (loads > 48 || (cluster > 1 && rows * loads * (cluster - 1) >= p.channels)) continue;
        if ((rows > wide || cluster > 1) && 3 * rows * loads * cluster > 4 * p.channels) continue;
        for (const int held : all_parked ? std::vector<int>{0} : std::vector<int>{0, 2, 3, 4, 6}) {
          if (held > loads || (held < 4 && held > 0 && loads > held)) continue;
          NormConfig c{Path::nchw_window, wide, lanes, threads, static_cast<int>(loads), tile, cluster};
          c.parked = c.loads - held;
          out.push_back(c);
        }
      }
    }
  }
}

void add_unaligned_nhwc(const NormProblem& p, std::vector<NormConfig>& out) {
  const int size = static_cast<int>(size_of(p.dtype)), wide = 16 / size;
  if (p.channels <= 4) {
    for (const int threads : {64, 128, 256}) {
      out.push_back({Path::nhwc_few, wide, 1, threads, static_cast<int>(p.channels), threads * wide});
    }
  }
  for (const int threads : {128, 256, 512}) {
    for (const int kib : {4, 8, 16, 32, 64, 96}) {
      if (kib > 32 && std::int64_t{32} * 1024 / size / p.channels >= wide) continue;        // where less holds no run
      const std::int64_t own = std::int64_t{kib} * 1024 / size / p.channels / wide * wide;  // pixels that fit
      if (own == 0 || own * p.channels / wide < threads / 2) continue;
      for (int lanes = 1; lanes <= 32; lanes *= 2) {
        if (lanes > 1 && (lanes > p.channels || lanes / 2 * own >= threads)) continue;
        out.push_back({Path::nhwc_flat, wide, lanes, threads, 1, static_cast<int>(own)});
      }
    }
  }
}

}  // namespace

LaunchNeeds norm_launch_needs(const NormConfig& c, DType dtype, NormChain chain, std::int64_t images, std::int64_t channels,
                              std::int64_t pixels) {
  const auto lanes = static_cast<std::size_t>(c.lanes), threads = static_cast<std::size_t>(c.threads), size = size_of(dtype);
  const auto vector = static_cast<std::size_t>(c.vector), loads = static_cast<std::size_t>(c.loads);
  const auto cluster = static_cast<std::size_t>(c.cluster), own_pixels = static_cast<std::size_t>(c.pixels);
  const std::size_t columns = lanes * vector, rows = threads / lanes;
  const std::size_t parts = dtype == DType::f32 ? 2 : 1;  // floats of a sum
  const bool full = chain == NormChain::silu || chain == NormChain::full;
  const std::size_t affine = chain == NormChain::bare ? 0 : 2 * rows * loads * size;  // weights and biases of a block's channels
  const std::int64_t all = images * pixels;
  LaunchNeeds n;
  n.threads = c.threads;
  n.cluster = c.cluster;
  switch (c.path) {
    case Path::nchw_tile: {
      const std::size_t groups = lanes < 32 && (lanes & (lanes - 1)) == 0 ? threads / 32 : rows;
      n.blocks = ceil_div(pixels, std::int64_t{c.lanes} * c.vector) * images * c.cluster;
      n.most_threads = most_tile_threads(c.loads, full && vector * size < 16 ? NormChain::full : chain);
      n.dynamic_shared = columns * (2 + parts * (groups + (cluster > 1 ? 2 * cluster : 0))) * sizeof(float) + affine;
      n.static_shared = 2 * sizeof(std::uint64_t);
      break;
    }
    case Path::nchw_window: {
      const std::size_t pitch = (columns + vector + lanes + 1 + 3) / 4 * 4;  // with its gaps
      const std::size_t reach = own_pixels == columns ? columns : own_pixels + vector;
      const std::size_t floats = (2 + parts * rows) * pitch + (cluster > 1 ? 2 * parts * cluster * reach : 0);
      n.blocks = ceil_div(pixels, c.pixels) * images * c.cluster;
      n.most_threads = 512;
      n.dynamic_shared = static_cast<std::size_t>(c.parked) * threads * 16 + floats * sizeof(float) + affine;
      n.static_shared = 2 * sizeof(std::uint64_t);
      break;
    }
    case Path::nchw_few:  // a warp's tile begins up to a pack before its place
      n.blocks = ceil_div(ceil_div(pixels + c.vector - 1, std::int64_t{c.lanes - 2} * c.vector) * images, c.threads / 32);
      n.most_threads = 256;
      break;
    case Path::nhwc_rows:
      n.blocks = ceil_div(all, std::int64_t{c.threads / c.lanes} * c.pixels);
      n.most_threads = most_row_threads(c.loads * c.pixels, full);
      n.static_shared = parts * 32 * own_pixels * sizeof(float);
      break;
    case Path::nhwc_few:
      n.blocks = ceil_div(ceil_div(all, c.vector), c.threads);
      n.most_threads = 256;
      n.static_shared = 8 * 36 * static_cast<std::size_t>(channels) * 16;
      break;
    case Path::nhwc_flat:
      n.blocks = ceil_div(all, c.pixels);
      n.most_threads = 512;
      n.dynamic_shared = own_pixels * static_cast<std::size_t>(channels) * size + 2 * (own_pixels + 2) * sizeof(float);
      break;
    default:  // blocks take several turns
      n.blocks = std::min(ceil_div(all, c.threads / c.lanes), kMostBlocks);
      n.dynamic_shared = threads * parts * sizeof(float);
      break;
  }
  return n;
}

std::vector<NormConfig> all_norm_configs(const NormProblem& p) {
  std::vector<NormConfig> out;
  const int size = static_cast<int>(size_of(p.dtype)), wide = 16 / size;
  const bool nhwc = p.format == Format::nhwc && p.channels > 1 && p.pixels > 1;
  if (p.contiguous && !nhwc && p.pixels <= (std::int64_t{1} << 31)) {
    const std::int64_t bytes = std::gcd<std::int64_t>(std::gcd<std::int64_t>(16, p.alignment), p.pixels * size);
    const int vector = bytes == 16 ? wide : 1;
    const bool full = p.chain == NormChain::full || (p.chain == NormChain::silu && vector != wide);
    const std::vector<int> loads = tile_loads(p, vector == wide);
    for (const int threads : {64, 128, 256, 512, 1024}) {
      for (int lanes = 1; lanes <= threads; lanes *= 2) {
        for (int cluster = 1; cluster <= (p.compute_capability >= kFirstWithClusters ? kMostClusterBlocks : 1); cluster *= 2) {
          const int rows = threads / lanes;
          const auto fit = std::find_if(loads.begin(), loads.end(), [&](int k) { return std::int64_t{rows} * k * cluster >= p.channels; });
          if (fit == loads.end() || threads > most_tile_threads(*fit, full ? NormChain::full : p.chain)) continue;
          if (rows * cluster > 1 && lanes * vector > threads) continue;
          if (cluster > 1 && std::int64_t{rows} * (*fit) * (cluster / 2) >= p.channels) continue;
          if (cluster > 1 && lanes * vector % 4 != 0) continue;  // blocks send four sums at a time
          if (rows > 1 && rows >= 2 * p.channels) continue;
          out.push_back({Path::nchw_tile, vector, lanes, threads, *fit, lanes * vector, cluster});
        }
      }
    }
    if (vector == wide) {
      add_exact_tiles(p, out);
    }
    if (p.alignment % 16 == 0 && !p.in_place) {
      add_windows(p, out);
      if (vector != wide) add_few(p, out);
    }
  }
  if (p.contiguous && nhwc) {
    const bool rows_aligned = p.alignment % 16 == 0 && p.channels * size % 16 == 0;
    const int vector = rows_aligned ? wide : 1;
    const std::vector<RowLoads> kernels = row_loads(p.full(), rows_aligned);
    for (const int threads : {128, 256, 512, 1024}) {
      for (int lanes = 1; lanes <= threads; lanes *= 2) {
        const std::int64_t needed = ceil_div(p.channels, std::int64_t{lanes} * vector);
        const auto fit = std::find_if(kernels.begin(), kernels.end(), [&](const RowLoads& k) { return k.loads >= needed; });
        if (fit == kernels.end() || (lanes > 1 && std::int64_t{lanes / 2} * vector >= p.channels)) continue;
        for (auto k = fit; k != kernels.end() && k->loads == fit->loads; ++k) {
          if (threads > most_row_threads(k->loads * k->pixels, p.full())) continue;
          out.push_back({Path::nhwc_rows, vector, lanes, threads, k->loads, k->pixels});
        }
      }
    }
    if (!rows_aligned && p.alignment % 16 == 0) add_unaligned_nhwc(p, out);
  }
  const bool few = p.images * p.pixels < 1024 || p.channels > 4096;
  std::erase_if(out, [&](const NormConfig& c) { return !can_launch(norm_launch_needs(c, p), p.compute_capability, p.shared_memory); });
  out.push_back({Path::strided, 1, few ? 256 : 8, 256, 1, 1});  // any device can
  return out;
}

bool is_full(const NormFormula& f) {
  return f.rounding != Rounding::once || f.first != Activation::none || f.second != Activation::none ||
         f.residual_mode != ResidualMode::none;
}

NormChain chain_of(const NormArgs& a) {
  const NormFormula& f = a.formula;
  if (!is_full(f)) return a.weight != nullptr || a.bias != nullptr ? NormChain::affine : NormChain::bare;
  const bool silu =
      (f.first == Activation::silu && f.second == Activation::none) || (f.first == Activation::none && f.second == Activation::silu);
  return silu && f.rounding == Rounding::once && f.residual_mode == ResidualMode::none ? NormChain::silu : NormChain::full;
}

std::string describe(const NormConfig& c, const NormArgs& args, DType dtype) {
  const std::size_t bytes = size_of(dtype) * static_cast<std::size_t>(c.vector);
  switch (c.path) {
    case Path::nchw_tile:
      return concat_text("nchw tile, ", c.lanes * c.vector, " pixels x ", args.channels, " channels, ", c.threads, " threads x ", c.loads,
                         " loads of ", bytes, " bytes", c.cluster > 1 ? concat_text(", cluster of ", c.cluster) : "");
    case Path::nhwc_rows:
      return concat_text("nhwc rows, ", c.lanes, " lanes for ", c.pixels, c.pixels == 1 ? " pixel" : " pixels", ", ", c.threads,
                         " threads, ", c.loads, c.loads == 1 ? " load of " : " loads of ", bytes, " bytes a pixel");
    case Path::nchw_window:
      return concat_text("nchw window, ", c.pixels, " pixels x ", args.channels, " channels, ", c.threads, " threads x ", c.loads,
                         " loads of ", bytes, " bytes, ", c.parked, " of them in shared memory",
                         c.cluster > 1 ? concat_text(", cluster of ", c.cluster) : "");
    case Path::nhwc_few: return concat_text("nhwc few, ", c.vector, " pixels a thread, ", c.threads, " threads");
    case Path::nchw_few:
      return concat_text("nchw few, ", c.pixels, " pixels x ", args.channels, " channels, ", c.threads, " threads, windows of ", c.lanes,
                         " x ", bytes, " bytes");
    case Path::nhwc_flat:
      return concat_text("nhwc flat, runs of ", c.pixels, " pixels, ", c.threads, " threads, ", c.lanes, c.lanes == 1 ? " lane" : " lanes",
                         " a sum");
    default: return concat_text("strided, ", c.lanes, " lanes a pixel, reads x twice");
  }
}

void launch_norm(const NormConfig& config, DType dtype, const NormArgs& args, const NormStrides& strides, cudaStream_t stream) {
  switch (config.path) {
    case Path::nchw_tile:
      return (dtype == DType::f32   ? launch_nchw_tile_f32
              : dtype == DType::f16 ? launch_nchw_tile_f16
                                    : launch_nchw_tile_bf16)(config, args, stream);
    case Path::nchw_window: return launch_nchw_window(config, dtype, args, stream);
    case Path::nchw_few: return launch_nchw_few(config, dtype, args, stream);
    case Path::nhwc_few: return launch_nhwc_few(config, dtype, args, stream);
    case Path::nhwc_rows: return launch_nhwc_rows(config, dtype, args, stream);
    case Path::nhwc_flat: return launch_nhwc_flat(config, dtype, args, stream);
    default: return launch_strided(config, dtype, args, strides, stream);
  }
}

}  // namespace frieze::cuda

#include <algorithm>
#include <numeric>

#include <frieze/core/error.h>
#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>

namespace frieze::cuda {
namespace {

using Path = NormConfig::Path;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr std::int64_t kMostBlocks = 0x7FFFFFFF;

// Tiles of any number of lanes with as many rows of threads as the channels need: they divide the pixels among multiprocessors where
// powers of two leave some idle, and no thread has more to load than there is.
void add_exact_tiles(const NormProblem& p, std::vector<NormConfig>& out) {
  const bool full = p.chain == NormChain::full;
  const int wide = 16 / static_cast<int>(size_of(p.dtype));
  for (const int k : full ? std::vector<int>{4, 8} : std::vector<int>{2, 3, 4, 6, 8, 16}) {
    const int most = k <= 4 && !full ? 1024 : 512;
    for (int cluster = 1; cluster <= (p.compute_capability >= 90 ? 8 : 1); ++cluster) {
      const std::int64_t rows = ceil_div(p.channels, std::int64_t{k} * cluster);
      if (rows < 8 || (cluster > 1 && rows * k * (cluster - 1) >= p.channels)) continue;
      for (const int lanes : {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32}) {
        const std::int64_t threads = ceil_div(rows * lanes, 32) * 32;
        if (threads > most || threads < 96 || std::int64_t{lanes} * wide > threads) continue;
        if (ceil_div(p.pixels, std::int64_t{lanes} * wide) * p.images * cluster > kMostBlocks) continue;
        const NormConfig c{Path::nchw_tile, wide, lanes, static_cast<int>(threads), k, lanes * wide, cluster, 1, 0};
        if (std::find(out.begin(), out.end(), c) == out.end()) out.push_back(c);
      }
    }
  }
}

void add_rings(const NormProblem& p, std::vector<NormConfig>& out) {
  const int wide = 16 / static_cast<int>(size_of(p.dtype));
  const std::vector<int> loads = p.full() ? std::vector<int>{4, 8} : std::vector<int>{4, 8, 16};
  for (const int threads : {128, 256, 512}) {
    for (int lanes = 1; lanes * wide <= threads; lanes *= 2) {
      const int rows = threads / lanes;
      const auto fit = std::find_if(loads.begin(), loads.end(), [&](int k) { return std::int64_t{rows} * k >= p.channels; });
      if (fit == loads.end() || rows >= 2 * p.channels) continue;
      if (ceil_div(p.pixels, std::int64_t{lanes} * wide) * p.images > kMostBlocks) continue;
      for (const int stages : {2, 3, 4}) {
        NormConfig c{Path::nchw_ring, wide, lanes, threads, *fit, lanes * wide, 1, stages, 0};
        const std::size_t shared = norm_shared_bytes(c, p.channels, p.dtype) + 1024;
        const int by_registers = 65536 / (threads * (*fit == 16 ? 128 : *fit == 8 ? 72 : 56));
        const int most = static_cast<int>(std::min<std::size_t>(kSharedOfSm / shared, static_cast<std::size_t>(by_registers)));
        for (int per_sm = 1; per_sm <= most; per_sm *= 2) {
          c.blocks = p.sm_count * (per_sm * 2 > most ? most : per_sm);
          out.push_back(c);
        }
      }
    }
  }
}

void add_few(const NormProblem& p, std::vector<NormConfig>& out) {
  if (p.channels < 2 || p.channels > (p.chain == NormChain::full ? 4 : kMostFewChannels)) return;
  const int wide = 16 / static_cast<int>(size_of(p.dtype)), channels = static_cast<int>(p.channels);
  for (const int threads : {64, 128, 256}) {
    if (ceil_div(p.pixels, 30 * wide) * p.images <= kMostBlocks)
      out.push_back({Path::nchw_few, wide, 32, threads, channels, 30 * wide * threads / 32, 1, 1, 0});
  }
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
        if (cluster > 1 && p.compute_capability < 90) break;
        const std::int64_t loads = ceil_div(p.channels, std::int64_t{rows} * cluster);
        if (loads > 48 || (cluster > 1 && rows * loads * (cluster - 1) >= p.channels)) continue;
        if ((rows > wide || cluster > 1) && 3 * rows * loads * cluster > 4 * p.channels) continue;
        if (ceil_div(p.pixels, tile) * p.images * cluster > kMostBlocks) continue;
        for (const int held : all_parked ? std::vector<int>{0} : std::vector<int>{0, 2, 3, 4, 6, 8}) {
          if (held > loads || (held < 4 && held > 0 && loads > held)) continue;
          NormConfig c{Path::nchw_window, wide, lanes, threads, static_cast<int>(loads), tile, cluster, 1, 0};
          c.parked = c.loads - held;
          const std::size_t affine = 2 * static_cast<std::size_t>(rows * loads * size);
          if (norm_shared_bytes(c, p.channels, p.dtype) + affine <= p.shared_memory) out.push_back(c);
        }
      }
    }
  }
}

void add_unaligned_nhwc(const NormProblem& p, std::vector<NormConfig>& out) {
  const int size = static_cast<int>(size_of(p.dtype)), wide = 16 / size;
  const std::int64_t pixels = p.images * p.pixels;
  if (p.channels <= 4) {
    for (const int threads : {64, 128, 256}) {
      if (ceil_div(pixels, std::int64_t{threads} * wide) <= kMostBlocks)
        out.push_back({Path::nhwc_few, wide, 1, threads, static_cast<int>(p.channels), threads * wide, 1, 1, 0});
    }
  }
  const std::int64_t packs = ceil_div(p.channels + wide - 1, wide);
  for (const int threads : {128, 256, 512}) {
    for (int lanes = 1; lanes <= threads; lanes *= 2) {
      for (const int k : {1, 2, 4, 8, 16}) {
        if (std::int64_t{lanes} * k < packs || std::int64_t{lanes} * k >= 2 * packs || p.channels < wide) continue;
        if (ceil_div(pixels, threads / lanes) <= kMostBlocks) out.push_back({Path::nhwc_shifted, wide, lanes, threads, k, 1, 1, 1, 0});
      }
    }
  }
  for (const int threads : {128, 256, 512}) {
    for (const int kib : {4, 8, 16, 32}) {
      const std::int64_t own = std::int64_t{kib} * 1024 / size / p.channels / wide * wide;  // pixels that fit
      if (own == 0 || ceil_div(pixels, own) > kMostBlocks || own * p.channels / wide < threads / 2) continue;
      for (int lanes = 1; lanes <= 32; lanes *= 2) {
        if (lanes > 1 && (lanes > p.channels || lanes / 2 * own >= threads)) continue;
        out.push_back({Path::nhwc_flat, wide, lanes, threads, 1, static_cast<int>(own), 1, 1, 0});
      }
    }
  }
}

}  // namespace

std::size_t norm_shared_bytes(const NormConfig& c, std::int64_t channels, DType dtype) {
  const auto lanes = static_cast<std::size_t>(c.lanes), threads = static_cast<std::size_t>(c.threads);
  const std::size_t columns = lanes * static_cast<std::size_t>(c.vector), c64 = static_cast<std::size_t>(channels);
  const std::size_t groups = lanes < 32 && (lanes & (lanes - 1)) == 0 ? threads / 32 : threads / lanes;
  const std::size_t parts = dtype == DType::f32 ? 2 : 1;  // floats of a sum
  switch (c.path) {
    case Path::nchw_tile:
      return columns * (2 + parts * (groups + (c.cluster > 1 ? 2 * static_cast<std::size_t>(c.cluster) : 0))) * sizeof(float);
    case Path::nchw_ring:
      return static_cast<std::size_t>(c.stages) * static_cast<std::size_t>(c.loads) * threads * 16 +
             columns * (2 + parts * groups) * sizeof(float);
    case Path::nchw_window: {
      const std::size_t pitch = (columns + static_cast<std::size_t>(c.vector) + lanes + 1 + 3) / 4 * 4;  // with its gaps
      const std::size_t reach = c.pixels == c.lanes * c.vector ? columns : static_cast<std::size_t>(c.pixels + c.vector);
      return static_cast<std::size_t>(c.parked) * threads * 16 +
             ((2 + parts * (threads / lanes)) * pitch + (c.cluster > 1 ? 2 * parts * static_cast<std::size_t>(c.cluster) * reach : 0)) *
                 sizeof(float);
    }
    case Path::nhwc_flat: {
      const auto pixels = static_cast<std::size_t>(c.pixels);
      return pixels * c64 * 16 / static_cast<std::size_t>(c.vector) + 2 * (pixels + 2) * sizeof(float);
    }
    default: return 0;  // static, or known to the launch alone
  }
}

std::vector<NormConfig> all_norm_configs(const NormProblem& p) {
  std::vector<NormConfig> out;
  const int size = static_cast<int>(size_of(p.dtype)), wide = 16 / size;
  const bool nhwc = p.format == Format::nhwc && p.channels > 1 && p.pixels > 1;
  if (p.contiguous && !nhwc && p.pixels <= (std::int64_t{1} << 31)) {
    const std::int64_t bytes = std::gcd<std::int64_t>(std::gcd<std::int64_t>(16, p.alignment), p.pixels * size);
    const int vector = bytes == 16 ? wide : bytes >= 4 && size == 2 ? 2 : 1;
    const bool full = p.chain == NormChain::full || (p.chain == NormChain::silu && vector != wide);
    const std::vector<int> loads = vector == wide ? (full ? std::vector<int>{4, 8} : std::vector<int>{2, 3, 4, 5, 6, 8, 16})
                                                  : (full ? std::vector<int>{8, 16} : std::vector<int>{8, 16, 32});
    for (const int threads : {64, 128, 256, 512, 1024}) {
      for (int lanes = 1; lanes <= threads; lanes *= 2) {
        for (int cluster = 1; cluster <= (p.compute_capability >= 90 ? 8 : 1); cluster *= 2) {
          const int rows = threads / lanes;
          const auto fit = std::find_if(loads.begin(), loads.end(), [&](int k) { return std::int64_t{rows} * k * cluster >= p.channels; });
          if (fit == loads.end() || ((*fit > 4 || full) && threads > 512)) continue;
          if (rows * cluster > 1 && lanes * vector > threads) continue;
          if (cluster > 1 && std::int64_t{rows} * (*fit) * (cluster / 2) >= p.channels) continue;
          if (cluster > 1 && lanes * vector % 4 != 0) continue;  // blocks send four sums at a time
          if (rows > 1 && rows >= 2 * p.channels) continue;
          if (ceil_div(p.pixels, std::int64_t{lanes} * vector) * p.images * cluster > kMostBlocks) continue;
          out.push_back({Path::nchw_tile, vector, lanes, threads, *fit, lanes * vector, cluster, 1, 0});
        }
      }
    }
    if (vector == wide) {
      add_exact_tiles(p, out);
      add_rings(p, out);
    }
    if (p.alignment % 16 == 0 && !p.in_place) {
      add_windows(p, out);
      if (vector != wide) add_few(p, out);
    }
  }
  if (p.contiguous && nhwc) {
    const std::int64_t pixels = p.images * p.pixels;
    const bool rows_aligned = p.alignment % 16 == 0 && p.channels * size % 16 == 0;
    const int vector = rows_aligned ? wide : 1;
    const std::vector<int> loads = rows_aligned ? std::vector<int>{1, 2, 3, 4, 5, 8, 16} : std::vector<int>{4, 16};
    for (const int threads : {128, 256, 512, 1024}) {
      for (int lanes = 1; lanes <= threads; lanes *= 2) {
        const std::int64_t needed = ceil_div(p.channels, std::int64_t{lanes} * vector);
        const auto fit = std::find_if(loads.begin(), loads.end(), [&](int k) { return k >= needed; });
        if (fit == loads.end() || (lanes > 1 && std::int64_t{lanes / 2} * vector >= p.channels)) continue;
        for (const int own : {1, 2, 4}) {
          const int held = *fit * own;
          if (own > 1 && (vector == 1 || held > (p.full() ? 2 : 8))) continue;
          if ((held > 2 || p.full()) && threads > 512) continue;
          if (ceil_div(pixels, std::int64_t{threads / lanes} * own) > kMostBlocks) continue;
          out.push_back({Path::nhwc_rows, vector, lanes, threads, *fit, own, 1, 1, 0});
        }
      }
    }
    if (!rows_aligned && p.alignment % 16 == 0) add_unaligned_nhwc(p, out);
  }
  const bool few = p.images * p.pixels < 1024 || p.channels > 4096;
  out.push_back({Path::strided, 1, few ? 256 : 8, 256, 1, 1, 1, 1, 0});
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
    case Path::nchw_ring:
      return concat_text("nchw ring, ", c.lanes * c.vector, " pixels x ", args.channels, " channels, ", c.threads, " threads x ", c.loads,
                         " loads of ", bytes, " bytes, ", c.stages, " stages, ", c.blocks, " blocks");
    case Path::nchw_window:
      return concat_text("nchw window, ", c.pixels, " pixels x ", args.channels, " channels, ", c.threads, " threads x ", c.loads,
                         " loads of ", bytes, " bytes, ", c.parked, " of them in shared memory",
                         c.cluster > 1 ? concat_text(", cluster of ", c.cluster) : "");
    case Path::nhwc_few: return concat_text("nhwc few, ", c.vector, " pixels a thread, ", c.threads, " threads");
    case Path::nhwc_shifted:
      return concat_text("nhwc shifted, ", c.lanes, " lanes a pixel, ", c.threads, " threads, ", c.loads,
                         c.loads == 1 ? " load" : " loads");
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
    case Path::nchw_tile: return launch_nchw_tile(config, dtype, args, stream);
    case Path::nchw_ring: return launch_nchw_ring(config, dtype, args, stream);
    case Path::nchw_window: return launch_nchw_window(config, dtype, args, stream);
    case Path::nchw_few: return launch_nchw_few(config, dtype, args, stream);
    case Path::nhwc_few: return launch_nhwc_few(config, dtype, args, stream);
    case Path::nhwc_shifted: return launch_nhwc_shifted(config, dtype, args, stream);
    case Path::nhwc_rows: return launch_nhwc_rows(config, dtype, args, stream);
    case Path::nhwc_flat: return launch_nhwc_flat(config, dtype, args, stream);
    default: return launch_strided(config, dtype, args, strides, stream);
  }
}

}  // namespace frieze::cuda

// Which configurations are worth timing, and which runs untimed: a rough model of their cost.
#include <algorithm>
#include <cmath>

#include <frieze/layers/rms_norm2d/cuda/rms_norm2d_kernels.h>

namespace frieze::cuda {
namespace {

using Path = NormConfig::Path;

// The numbers below were fitted to some 50 shapes on an H100 (2026-11-24, NOTES.md): time relative to the best way to do the same. What the
// model picks is within 4 % of the fastest configuration on average, and the fastest is nearly always among its first 16.

constexpr double kFlight = 65536;  // bytes under way that fill a multiprocessor

// `table` holds pairs of a limit and the cost up to it; past the last limit the cost is 1.
double up_to(double value, std::initializer_list<std::pair<double, double>> table) {
  for (const auto& [limit, cost] : table) {
    if (value <= limit) return cost;
  }
  return 1;
}

// Blocks come in whole waves: the last one leaves multiprocessors idle.
double wave_cost(double blocks, const NormProblem& p) {
  const double waves = blocks / std::max(1, p.sm_count);
  return waves < 6 ? 1 + 0.6 * (std::ceil(waves) / waves - 1) : 1;
}

// Blocks of `registers` a thread that a multiprocessor holds at a time.
double resident_blocks(const NormConfig& c, const NormProblem& p, int registers) {
  constexpr std::size_t kRegisters = 65536, kBlocks = 16;
  const LaunchNeeds needs = norm_launch_needs(c, p);
  const auto threads = static_cast<std::size_t>(c.threads), shared = needs.dynamic_shared + needs.static_shared + kReservedShared;
  const std::size_t resident = std::min({kRegisters / (static_cast<std::size_t>(registers) * threads),
                                         static_cast<std::size_t>(p.threads_of_sm) / threads, p.shared_of_sm / shared, kBlocks});
  return std::max<double>(1, static_cast<double>(resident));
}

// Tiles of 16-byte accesses in registers.
double wide_tile_cost(const NormConfig& c, const NormProblem& p) {
  constexpr double kClusters[] = {1, 0.88, 1.6, 1.05, 1.6, 0.985, 1.7, 0.955};  // of 1 to 8 blocks
  const bool half = p.dtype != DType::f32, full = p.chain == NormChain::full;
  const int lanes = c.lanes, bytes = lanes * 16;
  double cost = up_to(bytes, {{16, 2.05}, {32, 1.3}, {48, 1.25}, {64, 1.02}, {128, 0.965}});
  if (bytes % 64 != 0) cost *= 1.6;
  if ((lanes & (lanes - 1)) != 0) cost *= 1.5;  // no shuffles
  const double idle = c.threads / lanes * static_cast<double>(c.loads) * c.cluster / static_cast<double>(p.channels) - 1;
  const double pixels = static_cast<double>(p.pixels), per_tile = static_cast<double>(lanes) * c.vector;
  const double tiles = std::ceil(pixels / per_tile);
  cost *= (1 + 0.55 * idle) * (1 + 0.2 * (tiles * per_tile / pixels - 1)) * kClusters[c.cluster - 1];
  cost *= up_to(c.loads, {{4, 1.04}, {5, 0.955}, {8, 0.97}, {16, 1.03}});
  cost *= up_to(c.threads, {{96, 1.8}, {192, 1.05}, {384, 1}, {768, 1.02}, {1024, 1.33}});
  const int registers = c.loads > 8   ? 104
                        : c.loads > 6 ? (full                                 ? 96
                                         : half && p.chain == NormChain::bare ? 64
                                         : half                               ? 72
                                                                              : 104)
                        : full        ? 80
                                      : 64;
  const double resident = resident_blocks(c, p, registers);
  const double blocks = tiles * static_cast<double>(p.images) * c.cluster / std::max(1, p.sm_count);
  if (blocks < 1) cost *= std::pow(1 / blocks, 0.05);
  if (blocks < 6) cost *= 1 + 0.075 * (std::ceil(blocks) / blocks - 1);
  return cost * (1 + 0.28 * std::max(0.0, 1 - std::min(blocks, resident) * c.threads * c.loads * 16 / kFlight));
}

// Tiles of single elements.
double narrow_tile_cost(const NormConfig& c, const NormProblem& p) {
  const double size = static_cast<double>(size_of(p.dtype)), channels = static_cast<double>(p.channels);
  const double rows = c.threads / c.lanes, pixels = static_cast<double>(p.pixels), per_tile = c.lanes;
  const double tiles = std::ceil(pixels / per_tile) * static_cast<double>(p.images);
  double cost = 1.7 * (1 + 0.25 * (rows * c.loads * c.cluster / channels - 1));
  cost *= up_to(per_tile * size, {{8, 2}, {16, 1.6}, {32, 1.3}, {64, 1.05}});  // sectors of 32 bytes, DRAM bursts of 64
  cost *= (c.loads == 8 ? 1.1 : 1.0) * up_to(c.threads, {{64, 1.03}, {512, 1}, {1024, 1.08}});
  cost *= up_to(c.cluster, {{1, 1}, {2, 1.2}, {4, 1.3}, {8, 1.35}}) * wave_cost(tiles * c.cluster, p);
  return cost * (1 + 0.3 * (tiles * per_tile / (pixels * static_cast<double>(p.images)) - 1));
}

// Windows: a fit of its own, to some 4000 configurations of 22 problems (H100, 2026-11-28). On these, what it picks is 5 % behind the
// fastest on average and 17 % at the worst, and of its candidates the best is within 0.7 %.
double window_cost(const NormConfig& c, const NormProblem& p) {
  const int size = static_cast<int>(size_of(p.dtype)), held = c.loads - c.parked;
  const double rows = c.threads / c.lanes, loads = c.loads, pixels = static_cast<double>(p.pixels);
  const double tiles = std::ceil(pixels / c.pixels), blocks = tiles * static_cast<double>(p.images) * c.cluster / std::max(1, p.sm_count);
  const double resident = resident_blocks(c, p, 64);
  const double waves = blocks / resident * (c.cluster > 2 ? 1.12 : 1);  // clusters seldom fill a GPC
  const double threads = std::min(blocks, resident) * c.threads;
  const double over = static_cast<double>(c.lanes) * (16 / size) / c.pixels - 1;
  double sum =
      0.35 * over + 0.06 * (tiles * c.pixels / pixels - 1) + 0.38 * (rows * loads * c.cluster / static_cast<double>(p.channels) - 1);
  sum += 0.29 * std::max(0.0, 1 - threads * loads * 16 / kFlight / 1.5) + 0.07 * std::max(0.0, 1 - threads / 1024);
  sum += 0.06 * std::max(0.0, std::log2(loads / 8)) + 0.27 * std::max(0.0, std::log2(4 / loads));
  sum += blocks < 1 ? 0.11 * (1 - blocks) + 0.06 * (1 / std::max(blocks, 0.05) - 1) : 0;
  sum += blocks < 4 ? 0.1 * (std::ceil(blocks) / blocks - 1) : 0;
  sum += (waves > 1 ? 0.05 : 0) + (held == 0 ? 0.16 : c.parked > 0 ? 0.05 : 0) - (c.cluster > 4 ? 0.024 : 0);
  return (over == 0 ? 0.9 : 1) * std::exp(sum);  // without a halo: so that a few are timed beside nchw_tile
}

double rows_cost(const NormConfig& c, const NormProblem& p) {
  const double packs = static_cast<double>(p.channels) / c.vector, held = static_cast<double>(c.loads) * c.pixels;
  const double blocks = static_cast<double>(p.images * p.pixels) / (c.threads / c.lanes * c.pixels) / std::max(1, p.sm_count);
  double cost = (c.vector == 1 ? 2 : 1) * (1 + 0.35 * (c.lanes * static_cast<double>(c.loads) / packs - 1));
  cost *= (1 + 0.02 * std::abs(std::log2(held / 3))) * (1 + 0.005 * std::log2(c.threads / 128.0));
  if (c.lanes > 32) cost *= 1.02;
  return blocks < 1 ? cost * std::pow(1 / blocks, 0.3) : cost;
}

double flat_cost(const NormConfig& c, const NormProblem& p) {
  const double bytes = static_cast<double>(c.pixels * p.channels) * static_cast<double>(size_of(p.dtype));
  const double lanes = std::max(1.0, static_cast<double>(c.threads) / c.pixels);
  const double blocks = static_cast<double>(p.images * p.pixels) / c.pixels / std::max(1, p.sm_count);
  const double cost =
      1 + 0.05 * std::abs(std::log2(bytes / 8192)) + 0.03 * std::log2(c.threads / 128.0) + 0.02 * std::abs(std::log2(lanes / c.lanes));
  const double busy = std::min(1.0, blocks * c.threads / 512);  // small tensors: many threads, or else nhwc_rows
  return cost * (blocks < 1 ? std::sqrt(1 / blocks) : 1) * std::pow(1 / busy, 0.3);
}

double cost(const NormConfig& c, const NormProblem& p) {
  switch (c.path) {
    case Path::nchw_tile: return c.vector * size_of(p.dtype) == 16 ? wide_tile_cost(c, p) : narrow_tile_cost(c, p);
    case Path::nchw_window: return window_cost(c, p);
    case Path::nchw_few: return c.threads == 128 ? 0.9 : 0.92;
    case Path::nhwc_rows: return rows_cost(c, p);
    case Path::nhwc_few: return c.threads == 128 ? 1.0 : 1.02;
    case Path::nhwc_flat: return flat_cost(c, p);
    default: return 10;  // reads x twice, in small pieces
  }
}

}  // namespace

std::vector<NormConfig> norm_candidates(const NormProblem& problem) {
  constexpr std::size_t kMost = 24;
  std::vector<NormConfig> all = all_norm_configs(problem);
  std::stable_sort(all.begin(), all.end(), [&](const NormConfig& a, const NormConfig& b) { return cost(a, problem) < cost(b, problem); });
  if (all.size() > kMost) all.resize(kMost);
  return all;
}

}  // namespace frieze::cuda

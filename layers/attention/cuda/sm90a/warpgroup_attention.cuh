#pragma once
/// Attention by warp-group products and tensor copies, f16 and bf16, for sm_90a.
///
/// Read this first. A block owns 64 query rows of one head for each of its multiplying warp groups, which keep all sums in registers. One
/// thread of warp group 0 copies: q once, k and v through one ring of units, a unit being some chunks of 64 columns x a tile of keys. The
/// order of units is the order in which they are used, the same for all warp groups:
///   overlapping   k0 | k1 v0 | k2 v1 | … | v     scores of the next tile are multiplied beside the values of this one, and the softmax
///                                                runs while the tensor cores are busy with the values
///   else          k0 v0 | k1 v1 | …              one after the other: for widths whose sums leave no registers for two tiles
/// Two warp groups take turns with their products, so that one's softmax runs beside the other's products. A grid of as many blocks as run
/// at a time goes over all rows and heads: a block's next q, k and v come while it still works on the last ones.
#include <frieze/layers/attention/cuda/attention_rows.cuh>
#include <frieze/layers/attention/cuda/sm90a/warpgroup_products.cuh>

namespace frieze::cuda {

struct WarpgroupAttentionArgs {
  CUtensorMap q, k, v;
  AttentionCall call;
  unsigned row_tiles = 1, parts = 1;  // of a head: query rows x parts of v's columns
  unsigned pieces = 1;                // of all heads
  bool o_pairs = false;
};

/// kChunks of 64 columns in a unit; kKeyUnits and kValueUnits of a tile; kTile keys of a tile; kGroups warp groups that multiply;
/// kMasks: takes masks.
template <int kChunks_, int kKeyUnits_, int kValueUnits_, int kTile_, int kGroups_, int kUnits_, bool kOverlaps_, bool kMasks_ = true,
          bool kTurns_ = kGroups_ == 2, int kBlocks_ = kGroups_ == 1 ? 3 : 1>
struct AttentionPlan {
  static constexpr int kChunks = kChunks_, kKeyUnits = kKeyUnits_, kValueUnits = kValueUnits_, kTile = kTile_, kGroups = kGroups_;
  static constexpr int kUnits = kUnits_;  // of the ring
  static constexpr bool kOverlaps = kOverlaps_, kMasks = kMasks_, kTurns = kTurns_;
  static constexpr int kBlocks = kBlocks_;  // of a multiprocessor, at least
  static constexpr int kRows = 64 * kGroups, kThreads = kGroups == 1 ? 160 : 128 * (kGroups + 1),
                       kColumns = 64 * kChunks;  // columns of a unit
  static constexpr int kQueryChunks = kChunks * kKeyUnits, kQueryBytes = kQueryChunks * kRows * 128;
  static constexpr int kChunkBytes = kTile * 128, kUnitBytes = kChunks * kChunkBytes;
  static constexpr int kBarriers = kQueryBytes + kUnits * kUnitBytes;
  static constexpr int kSharedBytes = kBarriers + 8 * (2 * kUnits + 2) + 1024;  // the start is rounded up to 1024
  static constexpr int kValueColumns = kColumns * kValueUnits;
  static_assert(kSharedBytes <= 227 * 1024 && kUnits > kKeyUnits + kValueUnits - 1);
};

// What a place in the ring and its barriers' phase come to, unit after unit.
template <int kUnits>
struct RingPlace {
  int unit = 0;
  std::uint32_t phase = 0;
  __device__ __forceinline__ void step() {
    if (++unit == kUnits) unit = 0, phase ^= 1;
  }
};

template <class P>
struct AttentionBarriers {
  std::uint32_t base;
  __device__ std::uint32_t full(int unit) const { return base + 8 * unit; }
  __device__ std::uint32_t empty(int unit) const { return base + 8 * (P::kUnits + unit); }
  __device__ std::uint32_t query() const { return base + 16 * P::kUnits; }
  __device__ std::uint32_t query_empty() const { return base + 16 * P::kUnits + 8; }
  __device__ void init() const {
    for (int i = 0; i < P::kUnits; ++i) sm90a::barrier_init(full(i), 1), sm90a::barrier_init(empty(i), 4 * P::kGroups);
    sm90a::barrier_init(query(), 1);
    sm90a::barrier_init(query_empty(), 4 * P::kGroups);
    sm90a::fence_barrier_init();
  }
};

struct AttentionPlace {
  int row0, first_column, head, n, tiles;
};
template <class P>
__device__ __forceinline__ AttentionPlace attention_place(const WarpgroupAttentionArgs& f, unsigned piece) {
  const AttentionCall& a = f.call;
  unsigned rest = piece;
  const unsigned turn = rest % f.row_tiles;
  rest /= f.row_tiles;
  const unsigned part = rest % f.parts;
  rest /= f.parts;
  const auto heads = static_cast<unsigned>(a.heads);
  AttentionPlace at;
  at.row0 = static_cast<int>(a.causal ? f.row_tiles - 1 - turn : turn) * P::kRows;  // the longest rows first
  at.first_column = static_cast<int>(part) * P::kValueColumns;
  at.head = static_cast<int>(rest % heads);
  at.n = static_cast<int>(rest / heads);
  at.tiles = (seen_keys(a, std::int64_t{at.row0} + P::kRows) + P::kTile - 1) / P::kTile;
  return at;
}

// One thread's work.
template <class P>
__device__ __forceinline__ void copy_units(const WarpgroupAttentionArgs& f, std::uint32_t base, const AttentionBarriers<P>& bars) {
  const AttentionCall& a = f.call;
  RingPlace<P::kUnits> ring{0, 1};
  std::uint32_t query_phase = 1;
  for (unsigned piece = blockIdx.x; piece < f.pieces; piece += gridDim.x) {
    const AttentionPlace at = attention_place<P>(f, piece);
    const auto head_of = [&](const HeadsView& x) { return x.head == 0 ? 0 : at.head / x.group; };
    const auto image_of = [&](const HeadsView& x) { return x.n == 0 ? 0 : at.n; };
    sm90a::barrier_wait(bars.query_empty(), query_phase);
    query_phase ^= 1;
    sm90a::barrier_expect(bars.query(), P::kQueryBytes);
    for (int c = 0; c < P::kQueryChunks; ++c) {
      sm90a::load_box(base + c * P::kRows * 128, f.q, bars.query(), c * 64, at.row0, head_of(a.q), image_of(a.q));
    }
    const auto copy = [&](const CUtensorMap& map, const HeadsView& x, int units, int column, int tile) {
      for (int u = 0; u < units; ++u) {
        sm90a::barrier_wait(bars.empty(ring.unit), ring.phase);
        sm90a::barrier_expect(bars.full(ring.unit), P::kUnitBytes);
        const std::uint32_t to = base + P::kQueryBytes + ring.unit * P::kUnitBytes;
        for (int c = 0; c < P::kChunks; ++c) {
          sm90a::load_box(to + c * P::kChunkBytes, map, bars.full(ring.unit), column + (u * P::kChunks + c) * 64, tile * P::kTile,
                          head_of(x), image_of(x));
        }
        ring.step();
      }
    };
    const auto copy_keys = [&](int tile) { copy(f.k, a.k, P::kKeyUnits, 0, tile); };
    const auto copy_values = [&](int tile) { copy(f.v, a.v, P::kValueUnits, at.first_column, tile); };
    if constexpr (P::kOverlaps) {
      copy_keys(0);
      for (int t = 1; t < at.tiles; ++t) copy_keys(t), copy_values(t - 1);
      copy_values(at.tiles - 1);
    } else {
      for (int t = 0; t < at.tiles; ++t) copy_keys(t), copy_values(t);
    }
  }
}

// Apart, since it is long and rare, and would cost the products registers.
template <class T, int N>
__device__ __noinline__ void mask_scores_apart(const AttentionCall& a, float* scores, std::int64_t mask_base, int row, int key) {
  float s[N];
  for (int i = 0; i < N; ++i) s[i] = scores[i];
  mask_scores<T>(a, s, mask_base, row, key);
  for (int i = 0; i < N; ++i) scores[i] = s[i];
}

// Where a warp group is, from piece to piece.
template <class P>
struct Progress {
  RingPlace<P::kUnits> ring;
  int released = 0;
  std::uint32_t query_phase = 0;
};

template <class T, class P>
__device__ __forceinline__ void multiply_piece(const WarpgroupAttentionArgs& f, std::uint32_t base, const AttentionBarriers<P>& bars,
                                               int group, unsigned piece, Progress<P>& progress) {
  constexpr int kScores = P::kTile / 2, kSums = P::kColumns / 2;
  const AttentionCall& a = f.call;
  const AttentionPlace at = attention_place<P>(f, piece);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int first_row = at.row0 + group * 64, row = first_row + warp * 16 + lane / 4;
  const std::int64_t mask_base = head_offset(a.mask, at.n, at.head);
  const std::uint32_t queries = base + group * 64 * 128, units = base + P::kQueryBytes;
  const float factor = a.scale * kLog2E;

  float sums[P::kValueUnits][kSums] = {}, s[kScores];
  std::uint32_t weights[kScores / 2];
  RowStatistics rows;
  RingPlace<P::kUnits>& ring = progress.ring;
  int& released = progress.released;
  const auto release = [&](int count) {
    for (int u = 0; u < count; ++u) {
      if (lane == 0) sm90a::barrier_arrive(bars.empty(released));
      if (++released == P::kUnits) released = 0;
    }
  };
  const auto release_query = [&] {
    if (lane == 0) sm90a::barrier_arrive(bars.query_empty());
  };
  const auto multiply_keys = [&] {
    std::uint32_t left = sm90a::descriptor_word(queries, 0);
    if constexpr (!P::kOverlaps) asm volatile("" : "+r"(left));  // or the descriptors of all chunks would stay in registers
#pragma unroll
    for (int u = 0; u < P::kKeyUnits; ++u) {
      sm90a::barrier_wait(bars.full(ring.unit), ring.phase);
      const std::uint32_t right = sm90a::descriptor_word(units + ring.unit * P::kUnitBytes, 0);
      sm90a::product_fence();
#pragma unroll
      for (int c = 0; c < P::kChunks; ++c) {
        const int chunk = u * P::kChunks + c;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          sm90a::multiply_scores<T>(s, sm90a::descriptor(left + (chunk * P::kRows * 128 + k * 32) / 16),
                                    sm90a::descriptor(right + (c * P::kChunkBytes + k * 32) / 16), P::kOverlaps ? chunk + k : 1);
        }
      }
      ring.step();
    }
    sm90a::product_commit();
  };
  const auto multiply_weights = [&] {
#pragma unroll
    for (int u = 0; u < P::kValueUnits; ++u) {
      sm90a::barrier_wait(bars.full(ring.unit), ring.phase);
      const std::uint32_t right = sm90a::descriptor_word(units + ring.unit * P::kUnitBytes, P::kChunkBytes);
      sm90a::product_fence();
#pragma unroll
      for (int k = 0; k < P::kTile / 16; ++k) {
        sm90a::multiply_values<T>(sums[u], weights + 4 * k, sm90a::descriptor(right + k * 2048 / 16));
      }
      ring.step();
    }
    sm90a::product_commit();
  };
  const auto hold_sums = [&] {
#pragma unroll
    for (int u = 0; u < P::kValueUnits; ++u) sm90a::hold_all(sums[u]);
  };
  float rescale[2];
  const auto weigh = [&](int tile) {
    const int key = tile * P::kTile;
    const bool masked = tile_is_masked(a, first_row, key, P::kTile);
    if (masked) {
      if (!P::kMasks || a.mask_kind == MaskKind::none) {
        hide_keys(a, s, row, key + lane % 4 * 2);
      } else if constexpr (P::kMasks) {
        float copy[kScores];
#pragma unroll
        for (int i = 0; i < kScores; ++i) copy[i] = s[i];
        mask_scores_apart<T, kScores>(a, copy, mask_base, row, key + lane % 4 * 2);
#pragma unroll
        for (int i = 0; i < kScores; ++i) s[i] = copy[i];
      }
    }
    rows.add(s, masked ? 1.0F : factor, rescale);
  };
  const auto round_weights = [&] {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) weights[i] = pack_two<T>(s[2 * i], s[2 * i + 1]);
  };
  const auto rescale_sums = [&] {
    if (!__any_sync(~0U, rescale[0] != 1.0F || rescale[1] != 1.0F)) return;
#pragma unroll
    for (int u = 0; u < P::kValueUnits; ++u) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[u][i] *= rescale[(i & 2) / 2];
    }
  };
  // Turns of two warp groups: barrier 1 + group is passed by the group itself and arrived at by the other.
  const auto take_turn = [&] {
    if constexpr (P::kTurns) sm90a::named_sync<256>(1 + group);
  };
  const auto pass_turn = [&] {
    if constexpr (P::kTurns) sm90a::named_arrive<256>(2 - group);
  };
  sm90a::barrier_wait(bars.query(), progress.query_phase);
  progress.query_phase ^= 1;
  if constexpr (P::kOverlaps) {
    take_turn();
    multiply_keys();
    pass_turn();
    sm90a::product_wait<0>();
    sm90a::hold_all(s);
    release(P::kKeyUnits);
    weigh(0);
    round_weights();
    for (int t = 1; t < at.tiles; ++t) {
      take_turn();
      hold_sums();
      multiply_keys();
      multiply_weights();
      pass_turn();
      sm90a::product_wait<1>();
      sm90a::hold_all(s);
      release(P::kKeyUnits);
      weigh(t);
      sm90a::wait_for(rows.sum[0] + rows.sum[1]);
      sm90a::product_wait<0>();
      hold_sums();
      release(P::kValueUnits);
      rescale_sums();
      round_weights();
    }
    release_query();
    take_turn();
    hold_sums();
    multiply_weights();
    pass_turn();
    sm90a::product_wait<0>();
    hold_sums();
    release(P::kValueUnits);
  } else {
    for (int t = 0; t < at.tiles; ++t) {
#pragma unroll
      for (int i = 0; i < kScores; ++i) s[i] = 0;  // rather than by the product: their registers are free until here
      take_turn();
      sm90a::hold_all(s);
      multiply_keys();
      sm90a::product_wait<0>();
      sm90a::hold_all(s);
      pass_turn();
      release(P::kKeyUnits);
      weigh(t);
      rescale_sums();
      round_weights();
      hold_sums();
      multiply_weights();
      sm90a::product_wait<0>();
      hold_sums();
      release(P::kValueUnits);
    }
    release_query();
  }

  T* const o = static_cast<T*>(const_cast<void*>(a.o.data)) + head_offset(a.o, at.n, at.head);
  const bool whole = f.o_pairs && at.first_column + P::kValueColumns <= a.value_width;  // every column is there, at multiples of 4 bytes
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = rows.inverse(half);
    if (row + half * 8 >= a.rows) continue;
    T* const to = o + std::int64_t{row + half * 8} * a.o.row;
    if (whole) {
      auto* const pairs = reinterpret_cast<std::uint32_t*>(to + at.first_column + lane % 4 * 2);
#pragma unroll
      for (int u = 0; u < P::kValueUnits; ++u) {
#pragma unroll
        for (int i = 0; i < kSums; i += 4) {
          pairs[(u * P::kColumns + i / 4 * 8) / 2] = pack_two<T>(sums[u][i + 2 * half] * inverse, sums[u][i + 2 * half + 1] * inverse);
        }
      }
      continue;
    }
#pragma unroll
    for (int u = 0; u < P::kValueUnits; ++u) {
#pragma unroll
      for (int i = 0; i < kSums; i += 4) {
        store_two<T>(to, at.first_column + u * P::kColumns + i / 4 * 8 + lane % 4 * 2, a.value_width, a.o.column, f.o_pairs,
                     sums[u][i + 2 * half] * inverse, sums[u][i + 2 * half + 1] * inverse);
      }
    }
  }
}

template <class T, class P>
__device__ __forceinline__ void multiply_pieces(const WarpgroupAttentionArgs& f, std::uint32_t base, const AttentionBarriers<P>& bars,
                                                int group) {
  Progress<P> progress;
  if constexpr (P::kTurns) {
    if (group == 1) sm90a::named_arrive<256>(1);
  }
  for (unsigned piece = blockIdx.x; piece < f.pieces; piece += gridDim.x) multiply_piece<T, P>(f, base, bars, group, piece, progress);
  if constexpr (P::kTurns) {
    if (group == 0) sm90a::named_sync<256>(1);  // what the other group's last turn passed on
  }
}

/// Blocks of one multiplying warp group and one warp that copies are small, so that several run beside each other.
template <class T, class P>
__global__ void __launch_bounds__(P::kThreads, P::kBlocks) attention_rows_per_warpgroup(const __grid_constant__ WarpgroupAttentionArgs f) {
  extern __shared__ unsigned char shared[];
  const std::uint32_t base = (sm90a::shared_address(shared) + 1023U) & ~1023U;
  const AttentionBarriers<P> bars{base + P::kBarriers};
  if (threadIdx.x == 0) {
    bars.init();
    for (const CUtensorMap* map : {&f.q, &f.k, &f.v}) sm90a::prefetch_map(*map);
  }
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if constexpr (P::kGroups == 1) {
    if (group == 1) {
      if (threadIdx.x == 128) copy_units<P>(f, base, bars);
    } else {
      multiply_pieces<T, P>(f, base, bars, 0);
    }
  } else if (group == 0) {
    if constexpr (P::kGroups == 2) {
      asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    } else {
      asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
    }
    if (threadIdx.x == 0) copy_units<P>(f, base, bars);
  } else {
    if constexpr (P::kGroups == 2) {
      asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    } else {
      asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
    }
    multiply_pieces<T, P>(f, base, bars, group - 1);
  }
}

}  // namespace frieze::cuda

#pragma once
/// Products of a warp group that attention needs, for sm_90a: scores, with both operands in shared memory, and weighted values, with the
/// weights in registers and v as it lies in memory, keys along rows (PTX ISA, "wgmma.mma_async").
#include <frieze/layers/shared/cuda/warpgroup_ptx.cuh>

namespace frieze::cuda::sm90a {

/// The lower word of the descriptor of a matrix in shared memory whose rows of 128 bytes are swizzled by 128 bytes, each group of 8 rows
/// right behind the one before. K runs along the rows (then `step` is 0), or across them, with 64 columns in a run and the next 64 `step`
/// bytes on. A start that lies n bytes on has a word that is n / 16 larger.
__device__ __forceinline__ std::uint32_t descriptor_word(std::uint32_t start, std::uint32_t step) {
  return (start >> 4 & 0x3FFF) | (step == 0 ? 1U << 16 : step >> 4 << 16);
}
__device__ __forceinline__ std::uint64_t descriptor(std::uint32_t word) {
  std::uint64_t both;
  asm("mov.b64 %0, {%1, %2};" : "=l"(both) : "r"(word), "n"(0x40000040));
  return both;
}

/// Brings the description of a tensor to the copy engine ahead of its first copy.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) { asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory"); }

/// Keeps the compiler from moving reads and writes of the sums across.
template <int N>
__device__ __forceinline__ void hold_all(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

/// Keeps a product_wait() that follows behind the computation of `x`, a sum of weights, which is never negative: the assembler moves such
/// waits to the front of what does not depend on them, and the products would run beside nothing.
__device__ __forceinline__ void wait_for(float x) {
  asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n@p nanosleep.u32 0;\n}" ::"f"(x) : "memory");
}

// clang-format off
#define FRIEZE_LIST16S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define FRIEZE_LIST24S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23"
#define FRIEZE_LIST32S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define FRIEZE_LIST40S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39"
#define FRIEZE_LIST56S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55"
#define FRIEZE_LIST64S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define FRIEZE_LIST88S "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87"
#define FRIEZE_N0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define FRIEZE_N1 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define FRIEZE_N2 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define FRIEZE_N3 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define FRIEZE_F4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define FRIEZE_F8(i) FRIEZE_F4(i), FRIEZE_F4(i + 4)
#define FRIEZE_F32(i) FRIEZE_F8(i), FRIEZE_F8(i + 8), FRIEZE_F8(i + 16), FRIEZE_F8(i + 24)
#define FRIEZE_SCORES(n, type, numbers, a_at, b_at, add_at, ...) \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" add_at ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type \
               " {" numbers "}, %" a_at ", %" b_at ", p, 1, 1, 0, 0;\n}" : __VA_ARGS__ : "l"(a), "l"(b), "r"(add))
#define FRIEZE_VALUES(n, type, numbers, a0, a1, a2, a3, b_at, ...) \
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %" a0 ", %" a0 ";\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type \
               " {" numbers "}, {%" a0 ",%" a1 ",%" a2 ",%" a3 "}, %" b_at ", p, 1, 1, 1;\n}" \
               : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
#define FRIEZE_LIST1 FRIEZE_N0
#define FRIEZE_LIST2 FRIEZE_N0 "," FRIEZE_N1
#define FRIEZE_LIST3 FRIEZE_N0 "," FRIEZE_N1 "," FRIEZE_N2
#define FRIEZE_LIST4 FRIEZE_N0 "," FRIEZE_N1 "," FRIEZE_N2 "," FRIEZE_N3
// clang-format on

/// d = a * b^T, plus d if `add` is not 0: 64 rows of a, 2 * N rows of b, 16 of K.
template <class T, int N>
__device__ __forceinline__ void multiply_scores(float (&d)[N], std::uint64_t a, std::uint64_t b, int add) {
  static_assert(N == 16 || N == 24 || N == 32 || N == 40 || N == 56 || N == 64 || N == 88);
  constexpr bool kHalf = std::is_same_v<T, __half>;
  if constexpr (N == 16 && kHalf) FRIEZE_SCORES("32", "f16", FRIEZE_LIST16S, "16", "17", "18", FRIEZE_F8(0), FRIEZE_F8(8));
  if constexpr (N == 16 && !kHalf) FRIEZE_SCORES("32", "bf16", FRIEZE_LIST16S, "16", "17", "18", FRIEZE_F8(0), FRIEZE_F8(8));
  if constexpr (N == 24 && kHalf) FRIEZE_SCORES("48", "f16", FRIEZE_LIST24S, "24", "25", "26", FRIEZE_F8(0), FRIEZE_F8(8), FRIEZE_F8(16));
  if constexpr (N == 24 && !kHalf) FRIEZE_SCORES("48", "bf16", FRIEZE_LIST24S, "24", "25", "26", FRIEZE_F8(0), FRIEZE_F8(8), FRIEZE_F8(16));
  if constexpr (N == 32 && kHalf) FRIEZE_SCORES("64", "f16", FRIEZE_LIST32S, "32", "33", "34", FRIEZE_F32(0));
  if constexpr (N == 32 && !kHalf) FRIEZE_SCORES("64", "bf16", FRIEZE_LIST32S, "32", "33", "34", FRIEZE_F32(0));
  if constexpr (N == 40 && kHalf) FRIEZE_SCORES("80", "f16", FRIEZE_LIST40S, "40", "41", "42", FRIEZE_F32(0), FRIEZE_F8(32));
  if constexpr (N == 40 && !kHalf) FRIEZE_SCORES("80", "bf16", FRIEZE_LIST40S, "40", "41", "42", FRIEZE_F32(0), FRIEZE_F8(32));
  if constexpr (N == 56 && kHalf)
    FRIEZE_SCORES("112", "f16", FRIEZE_LIST56S, "56", "57", "58", FRIEZE_F32(0), FRIEZE_F8(32), FRIEZE_F8(40), FRIEZE_F8(48));
  if constexpr (N == 56 && !kHalf)
    FRIEZE_SCORES("112", "bf16", FRIEZE_LIST56S, "56", "57", "58", FRIEZE_F32(0), FRIEZE_F8(32), FRIEZE_F8(40), FRIEZE_F8(48));
  if constexpr (N == 64 && kHalf) FRIEZE_SCORES("128", "f16", FRIEZE_LIST64S, "64", "65", "66", FRIEZE_F32(0), FRIEZE_F32(32));
  if constexpr (N == 64 && !kHalf) FRIEZE_SCORES("128", "bf16", FRIEZE_LIST64S, "64", "65", "66", FRIEZE_F32(0), FRIEZE_F32(32));
  if constexpr (N == 88 && kHalf)
    FRIEZE_SCORES("176", "f16", FRIEZE_LIST88S, "88", "89", "90", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F8(64), FRIEZE_F8(72),
                  FRIEZE_F8(80));
  if constexpr (N == 88 && !kHalf)
    FRIEZE_SCORES("176", "bf16", FRIEZE_LIST88S, "88", "89", "90", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F8(64), FRIEZE_F8(72),
                  FRIEZE_F8(80));
}

/// d += a * b: 64 rows and 16 columns of a, which this warp group holds in registers; 16 rows and 2 * N columns of b; N = 32 to 128.
template <class T, int N>
__device__ __forceinline__ void multiply_values(float (&d)[N], const std::uint32_t* a, std::uint64_t b) {
  static_assert(N == 32 || N == 64 || N == 96 || N == 128);
  constexpr bool kHalf = std::is_same_v<T, __half>;
  if constexpr (N == 32 && kHalf) {
    FRIEZE_VALUES("64", "f16", FRIEZE_LIST1, "32", "33", "34", "35", "36", FRIEZE_F32(0));
  }
  if constexpr (N == 32 && !kHalf) {
    FRIEZE_VALUES("64", "bf16", FRIEZE_LIST1, "32", "33", "34", "35", "36", FRIEZE_F32(0));
  }
  if constexpr (N == 64 && kHalf) {
    FRIEZE_VALUES("128", "f16", FRIEZE_LIST2, "64", "65", "66", "67", "68", FRIEZE_F32(0), FRIEZE_F32(32));
  }
  if constexpr (N == 64 && !kHalf) {
    FRIEZE_VALUES("128", "bf16", FRIEZE_LIST2, "64", "65", "66", "67", "68", FRIEZE_F32(0), FRIEZE_F32(32));
  }
  if constexpr (N == 96 && kHalf) {
    FRIEZE_VALUES("192", "f16", FRIEZE_LIST3, "96", "97", "98", "99", "100", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F32(64));
  }
  if constexpr (N == 96 && !kHalf) {
    FRIEZE_VALUES("192", "bf16", FRIEZE_LIST3, "96", "97", "98", "99", "100", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F32(64));
  }
  if constexpr (N == 128 && kHalf) {
    FRIEZE_VALUES("256", "f16", FRIEZE_LIST4, "128", "129", "130", "131", "132", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F32(64),
                  FRIEZE_F32(96));
  }
  if constexpr (N == 128 && !kHalf) {
    FRIEZE_VALUES("256", "bf16", FRIEZE_LIST4, "128", "129", "130", "131", "132", FRIEZE_F32(0), FRIEZE_F32(32), FRIEZE_F32(64),
                  FRIEZE_F32(96));
  }
}

#undef FRIEZE_LIST1
#undef FRIEZE_LIST2
#undef FRIEZE_LIST3
#undef FRIEZE_LIST4
#undef FRIEZE_VALUES
#undef FRIEZE_SCORES
#undef FRIEZE_F32
#undef FRIEZE_F8
#undef FRIEZE_F4
#undef FRIEZE_LIST16S
#undef FRIEZE_LIST24S
#undef FRIEZE_LIST32S
#undef FRIEZE_LIST40S
#undef FRIEZE_LIST56S
#undef FRIEZE_LIST64S
#undef FRIEZE_LIST88S
#undef FRIEZE_N0
#undef FRIEZE_N1
#undef FRIEZE_N2
#undef FRIEZE_N3

}  // namespace frieze::cuda::sm90a

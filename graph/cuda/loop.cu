#include <frieze/core/cuda/launch.cuh>

#include <algorithm>

#include <frieze/graph/cuda/loop.h>

namespace frieze::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void set_counter_one_thread(std::int32_t* counter) { *counter = 0; }

__global__ void advance_one_thread(std::int32_t* counter) { ++*counter; }

__global__ void advance_loop_one_thread(std::int32_t* counter, std::int32_t iterations, cudaGraphConditionalHandle condition) {
  const std::int32_t ended = ++*counter;
  cudaGraphSetConditional(condition, ended < iterations ? 1U : 0U);
}

template <class Word>
__global__ void copy_row_word_per_thread(const std::int32_t* counter, std::int32_t iterations, const Word* table, Word* row,
                                         std::int64_t words) {
  const std::int64_t from = std::int64_t{min(*counter, iterations - 1)} * words;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < words; i += std::int64_t{gridDim.x} * kThreads) {
    row[i] = table[from + i];
  }
}

}  // namespace

void reset_counter(std::int32_t* counter, cudaStream_t stream) { launch_kernel(set_counter_one_thread, 1, 1, 0, stream, counter); }

void advance_counter(std::int32_t* counter, cudaStream_t stream) { launch_kernel(advance_one_thread, 1, 1, 0, stream, counter); }

void advance_counter(std::int32_t* counter, std::int32_t iterations, cudaGraphConditionalHandle condition, cudaStream_t stream) {
  launch_kernel(advance_loop_one_thread, 1, 1, 0, stream, counter, iterations, condition);
}

// 2 * bytes: rows are small, so the time is that of a launch.
void copy_row(const std::int32_t* counter, std::int32_t iterations, const void* table, void* row, std::int64_t bytes, cudaStream_t stream) {
  const auto copy = [&](auto word) {
    using Word = decltype(word);
    const std::int64_t words = bytes / static_cast<std::int64_t>(sizeof(Word)), blocks = ceil_div<std::int64_t>(words, kThreads);
    launch_kernel(copy_row_word_per_thread<Word>, grid_of(std::clamp<std::int64_t>(blocks, 1, 4096)), dim3(kThreads), 0, stream, counter,
                  iterations, static_cast<const Word*>(table), static_cast<Word*>(row), words);
  };
  if (bytes % 4 == 0) return copy(std::uint32_t{});
  copy(std::uint16_t{});
}

void preload_loop() {
  preload(reinterpret_cast<const void*>(&set_counter_one_thread));
  preload(reinterpret_cast<const void*>(&advance_one_thread));
  preload(reinterpret_cast<const void*>(&advance_loop_one_thread));
  preload(reinterpret_cast<const void*>(&copy_row_word_per_thread<std::uint32_t>));
  preload(reinterpret_cast<const void*>(&copy_row_word_per_thread<std::uint16_t>));
}

}  // namespace frieze::cuda

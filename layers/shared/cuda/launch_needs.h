#pragma once
/// What a launch needs of a device, known on the host before anything is launched: choosers leave out what a device cannot run.
#include <cstddef>
#include <cstdint>

namespace frieze::cuda {

struct LaunchNeeds {
  std::int64_t blocks = 1;         ///< of the grid, along x
  int threads = 1;                 ///< of a block
  int most_threads = 1024;         ///< of a block, by the kernel's __launch_bounds__
  std::size_t dynamic_shared = 0;  ///< bytes of a block
  std::size_t static_shared = 0;   ///< bytes of a block that the kernel declares, or more
  int cluster = 1;                 ///< blocks of a cluster
};

inline constexpr std::int64_t kMostBlocks = 0x7FFFFFFF;  ///< of a grid, along x
inline constexpr int kMostClusterBlocks = 8;             ///< that every device with clusters can run
inline constexpr int kFirstWithClusters = 90;            ///< compute capability

/// True if a device of that compute capability (of the code it runs), with `shared_memory` bytes for a block (opt-in), can run it.
/// Registers are not asked for: the compiler keeps a block of `most_threads` within them.
constexpr bool can_launch(const LaunchNeeds& needs, int compute_capability, std::size_t shared_memory) {
  const int most_of_cluster = compute_capability >= kFirstWithClusters ? kMostClusterBlocks : 1;
  return needs.blocks >= 1 && needs.blocks <= kMostBlocks && needs.threads >= 1 && needs.threads <= needs.most_threads &&
         needs.dynamic_shared + needs.static_shared <= shared_memory && needs.cluster >= 1 && needs.cluster <= most_of_cluster &&
         needs.blocks % needs.cluster == 0;
}

}  // namespace frieze::cuda

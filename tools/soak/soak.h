#pragma once
/// Long runs of the example model that must give the same bits each time and keep no memory.
#include <cstdint>
#include <ostream>
#include <string>

#include <frieze/graph/session.h>

namespace frieze::soak {

struct Options {
  std::string device = "auto";  ///< auto, cpu, cuda or cuda:N
  DType dtype = DType::f16;
  std::int64_t replays = 1000000;
  std::int64_t size = 32;  ///< side of the image
  int check_every = 100;   ///< replays between two comparisons; the inputs change at each
  double seconds = 0;      ///< end earlier, after this time; 0: never. The length of the threads' run, at least 1
  int threads = 0;         ///< 0: one session. Otherwise so many threads, each with an engine of three shapes
  std::uint64_t seed = 1;
};

struct Outcome {
  std::int64_t replays = 0, comparisons = 0, differences = 0;
  std::int64_t captures = 0;      ///< sessions compiled on the way, with threads
  std::int64_t grown_device = 0;  ///< bytes of device memory in use, end against beginning
  std::int64_t grown_host = 0;    ///< bytes of this process's resident memory
  double seconds = 0;
  std::string first_failure;
  bool ok() const { return replays > 0 && comparisons > 0 && differences == 0 && grown_device <= 0 && first_failure.empty(); }
};

/// Replays one session; its inputs change among eight sets every `check_every` replays, and each output is compared bit for bit
/// with that of the first time, on a buffer that was poisoned before. Progress goes to `log` ten times in all.
/// Device growth is that from the end of a warm-up of two rounds through all inputs. Throws frieze::Error.
Outcome replay(const Options& options, std::ostream& log);

/// `threads` threads at once, each with an engine of its own. All but the first go through three shapes and compare every
/// output; the first keeps room for one shape only, so that it destroys and captures at each step beside them.
Outcome threads(const Options& options, std::ostream& log);

}  // namespace frieze::soak

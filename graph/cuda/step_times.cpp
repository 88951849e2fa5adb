#include <algorithm>
#include <cmath>

#include <frieze/core/cuda/check.h>
#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/stamps.h>

namespace frieze::cuda {
namespace {

// Host memory that the device writes to while the host goes on.
class PinnedStamps {
 public:
  PinnedStamps(std::size_t rows, std::size_t columns) : columns_(columns) {
    CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&data_), rows * columns * sizeof(std::uint64_t)));
  }
  PinnedStamps(const PinnedStamps&) = delete;
  PinnedStamps& operator=(const PinnedStamps&) = delete;
  ~PinnedStamps() {
    if (cudaFreeHost(data_) != cudaSuccess) log_warning("pinned memory could not be freed");
  }
  std::uint64_t* row(int round) { return data_ + static_cast<std::size_t>(round) * columns_; }

 private:
  std::uint64_t* data_ = nullptr;
  std::size_t columns_;
};

double microseconds(std::uint64_t from, std::uint64_t to) { return to > from ? static_cast<double>(to - from) / 1000 : 0; }

// A graph with stamps, and what it wrote in each round.
class StampedGraph {
 public:
  StampedGraph(const CaptureSource& source, std::size_t stamps, int rounds, cudaStream_t stream, std::uint64_t* device)
      : device_(device), stamps_(stamps), stream_(stream), read_(static_cast<std::size_t>(rounds), stamps) {
    const CapturedGraph captured = capture_steps(stream, source);
    exec_ = instantiate(captured, stream, source).exec;
  }
  StampedGraph(const StampedGraph&) = delete;
  StampedGraph& operator=(const StampedGraph&) = delete;
  // An error may leave replays running, which write to the pinned memory.
  ~StampedGraph() { (void)cudaStreamSynchronize(stream_); }
  void replay(cudaStream_t stream) { CUDA_CHECK(cudaGraphLaunch(exec_.get(), stream)); }
  void launch(int round, cudaStream_t stream) {
    replay(stream);
    CUDA_CHECK(cudaMemcpyAsync(read_.row(round), device_, stamps_ * sizeof(std::uint64_t), cudaMemcpyDeviceToHost, stream));
  }
  double interval(int round, std::size_t i) { return microseconds(read_.row(round)[i], read_.row(round)[i + 1]); }
  double whole(int round) { return microseconds(read_.row(round)[0], read_.row(round)[stamps_ - 1]); }

 private:
  std::uint64_t* device_;
  std::size_t stamps_;
  cudaStream_t stream_;
  PinnedStamps read_;
  GraphExec exec_;
};

// What a chain of stamps tells: the cost of one, and the time from the last node of a replay to the first of the next.
void time_stamps(StepTimes& times, int rounds, cudaStream_t stream) {
  constexpr std::size_t kStamps = 65;
  constexpr int kInARow = 20;
  const DeviceBuffer device(kStamps * sizeof(std::uint64_t));
  const CaptureSource chain{kStamps, [&](std::size_t i, cudaStream_t s) { stamp(device.as<std::uint64_t>() + i, s); },
                            [](std::size_t) { return std::string("stamp"); }, [](std::size_t) { return true; }};
  StampedGraph graph(chain, kStamps, rounds, stream, device.as<std::uint64_t>());
  const Event begin = make_event(true), end = make_event(true);
  std::vector<double> each, whole;
  for (int round = 0; round < rounds; ++round) {
    graph.launch(round, stream);
    CUDA_CHECK(cudaEventRecord(begin.get(), stream));
    for (int i = 0; i < kInARow; ++i) graph.replay(stream);
    CUDA_CHECK(cudaEventRecord(end.get(), stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    each.push_back(graph.whole(round) / (kStamps - 1));
    whole.push_back(1000 * static_cast<double>(ms) / kInARow);
  }
  times.stamp_us = spread_of(std::move(each)).mid;
  times.between_us = std::max(0.0, spread_of(std::move(whole)).mid - kStamps * times.stamp_us);
}

// How many runs in a row make about a millisecond, so that the events around them do not show.
int runs_in_a_row(const std::function<void(cudaStream_t)>& run, cudaStream_t stream, const Event& begin, const Event& end) {
  constexpr int kMost = 20;
  run(stream);
  CUDA_CHECK(cudaEventRecord(begin.get(), stream));
  run(stream);
  CUDA_CHECK(cudaEventRecord(end.get(), stream));
  CUDA_CHECK(cudaEventSynchronize(end.get()));
  float ms = 0;
  CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
  return static_cast<int>(std::clamp(std::ceil(1 / static_cast<double>(std::max(ms, 1e-3F))), 1.0, static_cast<double>(kMost)));
}

}  // namespace

StepTimes time_steps(const CaptureSource& source, const std::function<void(cudaStream_t)>& run, int rounds, cudaStream_t stream) {
  const std::size_t stamps = source.steps + 1;
  const DeviceBuffer device(stamps * sizeof(std::uint64_t));
  const CaptureSource stamped{source.steps,
                              [&](std::size_t i, cudaStream_t s) {
                                if (i == 0) stamp(device.as<std::uint64_t>(), s);
                                source.enqueue(i, s);
                                stamp(device.as<std::uint64_t>() + i + 1, s);
                              },
                              source.path, source.builds_nodes};
  StampedGraph graph(stamped, stamps, rounds, stream, device.as<std::uint64_t>());
  const Event begin = make_event(true), end = make_event(true);
  const int in_a_row = runs_in_a_row(run, stream, begin, end);

  StepTimes times;
  times.rounds = rounds;
  std::vector<double> whole, stamped_whole;
  for (int round = 0; round < rounds; ++round) {
    run(stream);
    CUDA_CHECK(cudaEventRecord(begin.get(), stream));
    for (int i = 0; i < in_a_row; ++i) run(stream);
    CUDA_CHECK(cudaEventRecord(end.get(), stream));
    graph.launch(round, stream);
    CUDA_CHECK(cudaStreamSynchronize(stream));
    float ms = 0;
    CUDA_CHECK(cudaEventElapsedTime(&ms, begin.get(), end.get()));
    whole.push_back(1000 * static_cast<double>(ms) / in_a_row);
    stamped_whole.push_back(graph.whole(round));
  }
  times.run = spread_of(std::move(whole));
  times.stamped_run = spread_of(std::move(stamped_whole));
  time_stamps(times, rounds, stream);
  for (std::size_t i = 0; i < source.steps; ++i) {
    std::vector<double> us;
    for (int round = 0; round < rounds; ++round) us.push_back(graph.interval(round, i));
    times.steps.push_back(spread_of(std::move(us)));
  }
  return times;
}

}  // namespace frieze::cuda

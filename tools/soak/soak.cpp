#include "tools/soak/soak.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>

#include <frieze/core/error.h>
#include <frieze/graph/executor.h>
#include <frieze/models/quickstart.h>

namespace frieze::soak {
namespace {

constexpr int kInputs = 8;

Device pick(const std::string& name) {
  if (name == "auto") return Device::cuda_count() > 0 ? Device::cuda(0) : Device::cpu();
  return Device::parse(name);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// Values in [-1, 1) of a linear congruential generator (Knuth's MMIX constants).
HostTensor input_values(const TensorSpec& spec, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(spec.shape.elements()));
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (float& v : values) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    v = static_cast<float>(static_cast<std::int64_t>(state >> 40)) * 0x1p-23F - 1.0F;
  }
  return HostTensor(spec, values);
}

bool same(const HostTensor& a, const HostTensor& b) { return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0; }

std::vector<HostTensor> all_inputs(const TensorSpec& spec, std::uint64_t seed) {
  std::vector<HostTensor> inputs;
  for (int i = 0; i < kInputs; ++i) inputs.push_back(input_values(spec, seed * 1000 + static_cast<std::uint64_t>(i)));
  return inputs;
}

// What each input must give. Refuses inputs that all give the same, which could hide a replay that does nothing.
std::vector<HostTensor> answers(Session& net, const std::vector<HostTensor>& inputs) {
  std::vector<HostTensor> out;
  for (const HostTensor& input : inputs) {
    net.input().copy_from(input);
    net.poison();
    net.run();
    out.push_back(net.output().to_host());
  }
  check<Error>(!same(out[0], out[1]), "soak: two inputs give the same output");
  return out;
}

struct Shared {
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> replays{0}, comparisons{0}, differences{0}, captures{0};
  std::mutex mutex;
  std::string first_failure;
  void fail(const std::string& what) {
    const std::lock_guard lock(mutex);
    if (first_failure.empty()) first_failure = what;
    stop = true;
  }
};

std::vector<InputSpec> shape_of(const Options& o, int which) {
  const std::int64_t side = o.size;
  const Shape shapes[] = {{1, 3, side, side}, {2, 3, side, side + 1}, {1, 3, 2 * side + 3, side}};
  return {{"image", shapes[which % 3], o.dtype}};
}

void work(const Options& o, const Module& model, const Device& device, int thread, Shared& shared) {
  Engine engine(model, device, {.tune = false}, thread == 0 ? 1 : 3);
  std::vector<std::vector<HostTensor>> inputs(3), expected(3);
  for (int which = 0; which < 3; ++which) {
    Session alone = compile(model, shape_of(o, which), device, {.tune = false});
    inputs[static_cast<std::size_t>(which)] = all_inputs(alone.input().spec(), o.seed + static_cast<std::uint64_t>(thread));
    expected[static_cast<std::size_t>(which)] = answers(alone, inputs[static_cast<std::size_t>(which)]);
  }
  for (int round = 0; !shared.stop; ++round) {
    const auto which = static_cast<std::size_t>(round % 3), i = static_cast<std::size_t>(round / 3 % kInputs);
    Session net = engine.session(shape_of(o, static_cast<int>(which)));
    net.input().copy_from(inputs[which][i]);
    net.poison();
    net.run();
    ++shared.replays;
    ++shared.comparisons;
    if (!same(net.output().to_host(), expected[which][i])) {
      ++shared.differences;
      shared.fail(concat_text("thread ", thread, ", shape ", which, ", input ", i, ": other bits in round ", round));
    }
  }
  shared.captures += static_cast<std::int64_t>(engine.captures());
}

}  // namespace

Outcome replay(const Options& o, std::ostream& log) {
  const Device device = pick(o.device);
  Quickstart model;
  init_random(model, o.seed);
  Session net = compile(model, shape_of(o, 0), device);
  const std::vector<HostTensor> inputs = all_inputs(net.input().spec(), o.seed);
  const std::vector<HostTensor> expected = answers(net, inputs);
  (void)answers(net, inputs);
  const Backend& backend = device.backend();
  const std::int64_t device_before = backend.used_memory(), host_before = resident_bytes();
  log << "soak: " << o.replays << " replays of quickstart " << net.input().spec() << " on " << device.name() << std::endl;
  Outcome out;
  const auto start = std::chrono::steady_clock::now();
  std::int64_t told = 0;
  for (std::int64_t batch = 0; out.replays < o.replays; ++batch) {
    const auto i = static_cast<std::size_t>(batch % kInputs);
    net.input().copy_from(inputs[i]);
    net.poison();
    // Every replay is waited for: a graph that runs while the next is enqueued would be one long run, not many.
    for (int k = 0; k < o.check_every && out.replays < o.replays; ++k, ++out.replays) net.run();
    ++out.comparisons;
    if (!same(net.output().to_host(), expected[i])) {
      ++out.differences;
      if (out.first_failure.empty()) out.first_failure = concat_text("input ", i, " gave other bits after ", out.replays, " replays");
    }
    out.seconds = seconds_since(start);
    if (out.replays * 10 / o.replays > told) {
      told = out.replays * 10 / o.replays;
      log << "  " << out.replays << " replays, " << out.differences << " differences, " << out.seconds << " s" << std::endl;
    }
    if (o.seconds > 0 && out.seconds > o.seconds) break;
  }
  out.grown_device = backend.used_memory() - device_before;
  out.grown_host = resident_bytes() - host_before;
  return out;
}

Outcome threads(const Options& o, std::ostream& log) {
  const Device device = pick(o.device);
  Quickstart model;
  init_random(model, o.seed);
  Shared shared;
  const auto round = [&](double seconds) {
    shared.stop = false;
    std::vector<std::thread> workers;
    for (int t = 0; t < o.threads; ++t) {
      workers.emplace_back([&, t] {
        try {
          work(o, model, device, t, shared);
        } catch (const std::exception& e) {
          shared.fail(concat_text("thread ", t, ": ", e.what()));
        }
      });
    }
    const auto start = std::chrono::steady_clock::now();
    while (!shared.stop && seconds_since(start) < seconds) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    shared.stop = true;
    for (std::thread& worker : workers) worker.join();
  };
  const double seconds = std::max(1.0, o.seconds);
  log << "soak: " << o.threads << " threads with three shapes each on " << device.name() << ", " << seconds << " s" << std::endl;
  const Backend& backend = device.backend();
  const auto start = std::chrono::steady_clock::now();
  // The first quarter is the warm-up: what the driver keeps for the next graph is there afterwards.
  round(seconds / 4);
  const std::int64_t device_before = backend.used_memory(), host_before = resident_bytes();
  if (shared.first_failure.empty()) round(seconds * 3 / 4);
  Outcome out;
  out.replays = shared.replays;
  out.comparisons = shared.comparisons;
  out.differences = shared.differences;
  out.captures = shared.captures;
  out.seconds = seconds_since(start);
  out.first_failure = shared.first_failure;
  out.grown_device = backend.used_memory() - device_before;
  out.grown_host = resident_bytes() - host_before;
  return out;
}

}  // namespace frieze::soak

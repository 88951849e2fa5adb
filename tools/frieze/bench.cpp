#include <algorithm>
#include <chrono>

#include <frieze/core/error.h>
#include <frieze/graph/report/text_table.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/gpu.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"

namespace frieze::tools {
namespace {

// The median wall time of run(), in milliseconds.
double time_runs(Session& net, int rounds) {
  net.run();
  std::vector<double> ms;
  for (int i = 0; i < rounds; ++i) {
    const auto before = std::chrono::steady_clock::now();
    net.run();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
  }
  std::nth_element(ms.begin(), ms.begin() + rounds / 2, ms.end());
  return ms[static_cast<std::size_t>(rounds / 2)];
}

std::string timing_json(const LaunchTiming& t) { return JsonObject().add("host_us", t.host_us).add("device_us", t.device_us).text(); }

}  // namespace

int bench_command(const BenchOptions& options, std::ostream& out) {
  check<OptionError>(options.rounds >= 1, "--rounds must be at least 1, got ", options.rounds);
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  CompileOptions compile_as = compile_options(options, device);
  Session net = compile(*model.module, model.inputs, device, compile_as);
  fill_input(model, net);
  double flops = 0;
  for (const Step& step : net.plan().steps) flops += step.flops;

  JsonObject json;
  json.add("model", model.entry->name).add("device", device.name()).add("dtype", options.dtype);
  json.add("input", concat_text(net.input().spec())).add("tf32", options.tf32).add("rounds", options.rounds).add("gflop", flops / 1e9);
  const std::string title =
      concat_text(model.entry->name, " on ", device.name(), ", x ", net.input().spec(), ", ", fixed(flops / 1e9, 3), " GFLOP a run\n");
  const double run_ms = time_runs(net, device.is_cuda() ? options.rounds : std::min(options.rounds, 5));
  json.add("run_ms", run_ms);
  if (!device.is_cuda()) {
    if (options.json) {
      out << json.text() << '\n';
    } else {
      out << title << "run " << fixed(run_ms, 2) << " ms (median)"
          << (device.is_reference() ? ", the reference: sums in double, made to be right, not fast\n" : "\n");
    }
    return kExitOk;
  }

  compile_as.capture = false;
  Session eager_net = compile(*model.module, model.inputs, device, compile_as);
  fill_input(model, eager_net);
  const LaunchTiming graph = time_launches(net, options.rounds), eager = time_launches(eager_net, options.rounds);
  // A run is bound by its launches when the host needs longer to enqueue it than the device needs for the work.
  const bool eager_bound = eager.host_us > graph.device_us, graph_bound = graph.host_us > graph.device_us;
  if (options.json) {
    json.raw("graph", timing_json(graph)).raw("eager", timing_json(eager));
    json.add("graph_launch_bound", graph_bound).add("eager_launch_bound", eager_bound).add("nodes", net.receipt().nodes.size());
    out << json.text() << '\n';
    return kExitOk;
  }
  TextTable table({{"way"}, {"host us", Align::right}, {"device us", Align::right}, {"launch-bound"}});
  table.row({"graph", fixed(graph.host_us, 2), fixed(graph.device_us, 2), graph_bound ? "yes" : "no"});
  table.row({"eager", fixed(eager.host_us, 2), fixed(eager.device_us, 2), eager_bound ? "yes" : "no"});
  out << title << table.text() << "host: time in launch(); device: time a run, of 20 in a row; medians of "
      << counted(options.rounds, "round") << "\nrun() with its wait: " << fixed(run_ms, 3) << " ms; " << net.receipt().nodes.size()
      << " nodes in one graph\n";
  return kExitOk;
}

}  // namespace frieze::tools

#include <chrono>
#include <map>

#include <frieze/core/error.h>
#include <frieze/core/safetensors.h>
#include <frieze/graph/finite.h>
#include <frieze/graph/report/text_table.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/note.h"
#include "tools/frieze/outputs.h"

namespace frieze::tools {

int run_command(const RunOptions& options, Outputs& outputs) {
  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
  announce_model(options, outputs);
  outputs.writes(options.out);  // before the work, not after it
  (void)output_format(options.out);
  if (!options.tap_out.empty()) {
    outputs.writes(options.tap_out);
    check_ending(options.tap_out, "a file of tensors", {".safetensors"});
  }
  check_can_hold(read_header(options.photo, options.pictures), options.out, write_options(options.pictures));
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  const auto start = Clock::now();
  Session net = compile(*model.module, model.inputs, device, compile_options(options, device));
  const auto compiled = Clock::now();
  for (const std::string& pattern : options.taps) net.tap(pattern);
  net.input().copy_from(model.photo_input());
  const auto before = Clock::now();
  net.run();
  const auto after = Clock::now();
  const HostTensor result = net.output().to_host();
  tell_note(check_finite(net, result.floats()));
  const Image picture = model.picture(result);
  if (!options.tap_out.empty()) {
    std::map<std::string, HostTensor> tensors;
    for (const std::string& name : net.tapped_names()) {
      const HostTensor value = net.tapped(name);
      tensors.emplace(name, value.converted(value.spec().dtype, Format::nchw));
    }
    write_safetensors(outputs.open(options.tap_out), tensors);
  }
  write_picture(outputs, options.out, with_properties_of(picture, model.photo), options.pictures);

  std::ostream& out = outputs.text();
  const Receipt& receipt = net.receipt();
  if (options.json) {
    out << JsonObject()
               .add("model", model.entry->name)
               .add("device", device.name())
               .add("dtype", options.dtype)
               .add("weights", model.weights_note)
               .add("in", options.photo)
               .add("out", options.out)
               .add("compile_ms", ms(start, compiled))
               .add("run_ms", ms(before, after))
               .raw("receipt", receipt.json())
               .text()
        << '\n';
    return kExitOk;
  }
  out << model.entry->name << " on " << device.name() << ", " << options.dtype << ", weights: " << model.weights_note << '\n'
      << printable(options.photo) << ' ' << model.photo.width << 'x' << model.photo.height << " -> " << printable(options.out) << ' '
      << picture.width << 'x' << picture.height << '\n'
      << "compile " << fixed(ms(start, compiled), 1) << " ms, run " << fixed(ms(before, after), 3) << " ms";
  if (receipt.captured) out << ", " << counted(receipt.launches_per_run, "launch") << " of " << receipt.nodes.size() << " nodes";
  out << '\n';
  if (!options.tap_out.empty())
    out << counted(static_cast<std::int64_t>(net.tapped_names().size()), "tap") << " -> " << printable(options.tap_out) << '\n';
  return kExitOk;
}

}  // namespace frieze::tools

#include <frieze/core/error.h>
#include <frieze/graph/report/memory_text.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"

namespace frieze::tools {

int inspect_command(const InspectOptions& options, std::ostream& out) {
  check<OptionError>(!options.dot || !options.json, "--dot and --json exclude each other");
  check<OptionError>(!options.graph_dot || !(options.dot || options.json || options.memory), "--graph-dot goes alone");
  check<OptionError>(!options.memory || !options.dot, "--memory and --dot exclude each other");
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  const Session net = compile(*model.module, model.inputs, device, compile_options(options, device));
  const Receipt& receipt = net.receipt();
  if (options.dot) {
    out << plan_dot(net.plan());
  } else if (options.graph_dot) {
    check<OptionError>(receipt.captured, "--graph-dot: nothing is captured on ", device.name());
    out << receipt.dot();
  } else if (options.memory && options.json) {
    out << memory_json(net.plan(), net.memory_plan(), receipt.memory);
  } else if (options.memory) {
    out << model.entry->name << " on " << device.name() << '\n'
        << memory_text(net.plan(), net.memory_plan(), receipt.memory) << '\n'
        << memory_picture(net.plan(), net.memory_plan());
  } else if (options.json) {
    out << JsonObject()
               .add("model", model.entry->name)
               .add("device", device.name())
               .raw("plan", plan_json(net.plan()))
               .raw("memory", memory_json(net.plan(), net.memory_plan(), receipt.memory))
               .raw("receipt", receipt.json())
               .text()
        << '\n';
  } else {
    out << model.entry->name << " on " << device.name() << '\n'
        << plan_text(net.plan()) << '\n'
        << memory_text(net.plan(), net.memory_plan(), receipt.memory) << '\n'
        << receipt.text();
  }
  return kExitOk;
}

}  // namespace frieze::tools

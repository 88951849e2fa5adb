#include <frieze/graph/profile.h>

#include <algorithm>

#include "tools/frieze/commands.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"

namespace frieze::tools {

int profile_command(const ProfileCommandOptions& options, std::ostream& out) {
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  Session net = compile(*model.module, model.inputs, device, compile_options(options, device));
  fill_input(model, net);
  ProfileOptions profile_options;
  profile_options.rounds = device.is_cuda() ? options.rounds : std::min(options.rounds, 5);
  const ProfileReport report = profile(net, profile_options);
  if (options.json) {
    out << JsonObject()
               .add("model", model.entry->name)
               .add("dtype", options.dtype)
               .add("weights", model.weights_note)
               .raw("report", report.json())
               .text()
        << '\n';
  } else {
    out << model.entry->name << ", " << model.weights_note << " weights\n" << report.text();
  }
  return kExitOk;
}

}  // namespace frieze::tools

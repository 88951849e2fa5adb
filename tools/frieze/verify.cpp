#include <frieze/graph/verify.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/model_registry.h"

namespace frieze::tools {

int verify_command(const VerifyCommandOptions& options, std::ostream& out) {
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  const Session net = compile(*model.module, model.inputs, device, compile_options(options, device));
  VerifyOptions verify_options;
  verify_options.seed = options.seed;
  if (model.has_photo()) verify_options.inputs.push_back(model.photo_input());
  const VerifyReport report = verify(net, verify_options);
  if (options.json) {
    out << model.json(options.dtype, report.json()) << '\n';
  } else {
    out << report.text();
  }
  return report.ok() ? kExitOk : kExitVerifyFailed;
}

}  // namespace frieze::tools

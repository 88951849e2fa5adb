#include <frieze/graph/report/html.h>

#include <algorithm>
#include <optional>

#include <frieze/core/error.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/outputs.h"

namespace frieze::tools {

int profile_command(const ProfileCommandOptions& options, Outputs& out) {
  announce_model(options, out);
  if (!options.html.empty()) {
    out.writes(options.html);
    check_ending(options.html, "a page", {".html", ".htm"});
  }
  const PreparedModel model = prepare_model(options);
  const Device device = pick_device(options.device);
  Session net = compile(*model.module, model.inputs, device, compile_options(options, device));
  fill_input(model, net);
  ProfileOptions profile_options;
  profile_options.rounds = device.is_cuda() ? options.rounds : std::min(options.rounds, 5);
  const ProfileReport report = profile(net, profile_options);
  if (!options.html.empty()) {
    std::optional<VerifyReport> verified;
    if (options.verify) {
      VerifyOptions verify_options;
      if (model.has_photo()) verify_options.inputs.push_back(model.photo_input());
      verified = verify(net, verify_options);
      verified->rewrites = verify_rewrites(trace(*model.module, model.inputs), net.options().passes, verify_options);
    }
    const std::string page = html_report({concat_text(options.model, ", ", options.dtype), &net, &report, verified ? &*verified : nullptr});
    out.open(options.html).write(std::as_bytes(std::span(page)));
  }
  if (options.json) {
    out.text() << model.json(options.dtype, report.json()) << '\n';
  } else {
    out.text() << model.entry->name << ", " << model.weights_note << " weights\n" << report.text();
  }
  return kExitOk;
}

}  // namespace frieze::tools

#include <frieze/graph/verify.h>

#include <optional>

#include <frieze/core/error.h>
#include <frieze/graph/against.h>
#include <frieze/graph/report/html.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/outputs.h"

namespace frieze::tools {
namespace {

// Inputs have the shapes that they have in the file.
void take_shapes(std::vector<InputSpec>& inputs, const Weights& file) {
  for (InputSpec& input : inputs) {
    if (file.contains(input.name)) input.shape = file.at(input.name).shape;
  }
}

}  // namespace

int verify_command(const VerifyCommandOptions& options, Outputs& out) {
  announce_model(options, out);
  if (!options.against.empty()) out.reads_checkpoint(options.against);
  if (!options.html.empty()) out.writes(options.html);
  std::optional<Weights> expected;
  if (!options.against.empty()) expected = Weights::open(options.against);
  PreparedModel model = prepare_model(options);
  if (expected && !model.has_photo()) take_shapes(model.inputs, *expected);
  const Device device = pick_device(options.device);
  Session net = compile(*model.module, model.inputs, device, compile_options(options, device));

  HtmlReport page{concat_text(options.model, ", ", options.dtype), &net};
  std::optional<VerifyReport> layers;
  std::optional<AgainstReport> against;
  if (expected) {
    AgainstOptions against_options{.tolerance = options.tolerance};
    if (model.has_photo()) {
      fill_input(model, net);
      against_options.given.push_back(model.inputs[0].name);
    }
    against = verify_against(net, *expected, against_options);
    page.against = &*against;
  } else {
    VerifyOptions verify_options;
    verify_options.seed = options.seed;
    if (model.has_photo()) verify_options.inputs.push_back(model.photo_input());
    layers = verify(net, verify_options);
    if (options.rewrites) layers->rewrites = verify_rewrites(trace(*model.module, model.inputs), net.options().passes, verify_options);
    page.verify = &*layers;
  }
  if (!options.html.empty()) {
    const std::string text = html_report(page);
    out.open(options.html).write(std::as_bytes(std::span(text)));
  }
  const auto tell = [&](const auto& report) {
    out.text() << (options.json ? model.json(options.dtype, report.json()) + '\n' : report.text());
    return report.ok() ? kExitOk : kExitVerifyFailed;
  };
  return against ? tell(*against) : tell(*layers);
}

}  // namespace frieze::tools

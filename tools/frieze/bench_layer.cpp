#include "tools/frieze/bench_layer.h"

#include <algorithm>
#include <limits>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/core/version.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/layers/activation/activation.h>
#include <frieze/layers/elementwise/elementwise.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/json.h"
#include "tools/frieze/layer_registry.h"

namespace frieze::tools {
namespace {

struct NamedSpec {
  std::string name;
  TensorSpec spec;
};

// "2x3x4" or "2x3x4:f16".
TensorSpec parse_spec(const std::string& option, const std::string& whole, DType fallback) {
  std::string_view text = whole;
  TensorSpec spec;
  spec.dtype = fallback;
  if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    spec.dtype = parse_dtype(text.substr(colon + 1));
    text = text.substr(0, colon);
  }
  std::vector<std::int64_t> extents;
  for (bool more = true; more;) {
    const std::size_t end = std::min(text.find('x'), text.size());
    try {
      extents.push_back(parse_whole(option, text.substr(0, end), 1, std::numeric_limits<std::int64_t>::max()));
    } catch (const OptionError&) {
      throw OptionError(concat_text(option, ": expected extents of at least 1 such as 1x64x32x32, or 1x64x32x32:f16, got '", whole, "'"));
    }
    more = end < text.size();
    text.remove_prefix(more ? end + 1 : end);
  }
  check<OptionError>(extents.size() <= static_cast<std::size_t>(Shape::kMaxRank), option, ": expected at most ", Shape::kMaxRank,
                     " extents, got '", whole, "'");
  spec.shape = Shape(extents);
  (void)spec.bytes();  // ShapeError past 2^63
  return spec;
}

NamedSpec parse_tensor(const std::string& text, DType fallback) {
  const std::size_t equals = text.find('=');
  check<OptionError>(equals != std::string::npos && equals > 0, "--tensor: expected NAME=SHAPE such as weight=64x64x3x3, got '", text, "'");
  return {text.substr(0, equals), parse_spec("--tensor " + text.substr(0, equals), text.substr(equals + 1), fallback)};
}

FusedOp epilogue_step(const std::string& text) {
  FusedOp made;
  if (text == "add" || text == "mul") {
    made.op.kind = text == "add" ? EpilogueOp::Kind::add : EpilogueOp::Kind::mul;
    made.layer = text == "add" ? std::shared_ptr<const Layer>(std::make_shared<Add>()) : std::make_shared<Mul>();
  } else {
    const TensorSpec any{Shape{1}};
    made.layer = std::make_shared<ActivationLayer>(parse_activation(text));
    made.op = made.layer->as_epilogue({&any, 1}).value();
  }
  made.path = text;
  return made;
}

bool is_parameter(const Layer& layer, const std::string& name) {
  const auto& all = layer.parameters();
  return std::any_of(all.begin(), all.end(), [&](const Parameter* p) {
    return p->name == name || std::find(p->aliases.begin(), p->aliases.end(), name) != p->aliases.end();
  });
}

std::string joined(const std::vector<std::string>& parts, const char* before) {
  std::string text;
  for (const std::string& part : parts) text += before + part;
  return text;
}

std::string row_json(const LayerCase& c, const LayerResult& r) {
  JsonObject json;
  json.add("case", c.text).add("dtype", name(c.dtype)).add("format", name(c.format)).add("kernel", r.kernel);
  if (!r.skipped.empty()) return json.add("skipped", r.skipped).text();
  json.add("bytes", c.bytes).add("us", r.time.median).add("spread", r.time.spread()).add("copy_us", r.copy_us());
  json.add("floor_copies", c.floor).add("ratio", r.ratio(c));
  json.add("copy_kernel_us", r.copy_kernel.median).add("memcpy_us", r.copy_node.median);
  json.add("gb_s", r.time.median > 0 ? c.bytes / r.time.median / 1e3 : 0);
  return json.add("cold", r.cold).add("buffers", r.buffers).add("launches", r.launches).add("share_of_budget", r.share).text();
}

std::string row_csv(const LayerCase& c, const LayerResult& r) {
  const auto quoted = [](const std::string& field) {
    std::string out = "\"";
    for (const char ch : field) out += ch == '"' ? std::string("\"\"") : std::string(1, ch);
    return out + '"';
  };
  return concat_text(quoted(c.text), ',', c.dtype, ',', c.format, ',', c.bytes, ',', r.time.median, ',', r.time.spread(), ',', r.copy_us(),
                     ',', r.ratio(c), ',', r.share, ',', quoted(r.kernel), ',', quoted(r.skipped), '\n');
}

void add_row(TextTable& table, const LayerCase& c, const LayerResult& r) {
  const std::string dtype(name(c.dtype)), format(name(c.format));
  if (!r.skipped.empty()) return table.row({c.text, dtype, format, "-", "-", "-", "-", "-", "-", r.skipped});
  table.row({c.text, dtype, format, fixed(c.bytes / 1e6, 1), fixed(r.time.median, 2), fixed(100 * r.time.spread(), 1) + " %",
             fixed(r.copy_us(), 2), fixed(r.ratio(c), 3) + (c.floor > 1 ? concat_text(" of ", c.floor) : "") + (r.cold ? "" : " (warm)"),
             r.share < 0 ? "-" : short_number(r.share), r.kernel});
}

std::vector<LayerCase> cases_of(const BenchOpOptions& o) {
  check<OptionError>(o.affine == "none" && o.activation == "none" && o.residual == "none",
                     "--affine, --activation and --residual are rms_norm2d's: for other layers give --tensor weight=C and --then STEP");
  const DType dtype = o.dtype.empty() ? DType::bf16 : parse_float_dtype(o.dtype);
  std::vector<Format> formats = {Format::nchw, Format::nhwc};
  if (!o.format.empty()) formats = {parse_format(o.format)};
  std::vector<LayerCase> cases;
  const auto add = [&](const std::string& layer, const std::vector<std::string>& tensors, const std::vector<std::string>& settings,
                       const std::vector<std::string>& then, int below, double floor) {
    for (const Format format : formats) {
      LayerCase made = make_layer_case(layer, tensors, settings, then, dtype, format);
      made.below = below;
      made.floor = floor;
      if (takes_format(made) || !o.format.empty()) cases.push_back(std::move(made));
    }
  };
  if (o.layer == "all") {
    check<OptionError>(o.shapes.empty() && o.tensors.empty() && o.settings.empty() && o.then.empty(),
                       "bench-op all has its own table: --shapes, --tensor, --set and --then are for one layer");
    for (const StandardCase& c : standard_cases()) add(c.layer, c.tensors, c.settings, c.then, c.below, c.floor);
    return cases;
  }
  (void)find_layer(o.layer);
  if (o.shapes.empty() && o.tensors.empty()) {
    for (const StandardCase& c : standard_cases()) {
      if (o.layer == c.layer) add(c.layer, c.tensors, c.settings, c.then, c.below, c.floor);
    }
    check<OptionError>(!cases.empty(), "bench-op ", o.layer, " needs --shapes, the shape of x");
    return cases;
  }
  for (std::size_t begin = 0; begin <= o.shapes.size();) {
    const std::size_t end = std::min(o.shapes.find(',', begin), o.shapes.size());
    std::vector<std::string> tensors = {"x=" + o.shapes.substr(begin, end - begin)};
    tensors.insert(tensors.end(), o.tensors.begin(), o.tensors.end());
    if (o.shapes.empty()) tensors.erase(tensors.begin());
    add(o.layer, tensors, o.settings, o.then, o.below, 1);
    begin = end + 1;
  }
  return cases;
}

}  // namespace

LayerCase make_layer_case(const std::string& layer, const std::vector<std::string>& tensors, const std::vector<std::string>& settings,
                          const std::vector<std::string>& then, DType dtype, Format format) {
  const LayerEntry& entry = find_layer(layer);
  check<OptionError>(entry.make != nullptr, "bench-op times single layers, and ", layer, " has several steps");
  check<OptionError>(entry.make != nullptr, "bench-op times single layers, and ", layer, " is several steps: frieze bench times models");
  LayerCase c;
  c.text = layer + joined(tensors, " ") + joined(settings, " ") + joined(then, " +");
  c.dtype = dtype;
  c.format = format;
  std::vector<NamedSpec> named;
  Tensors shapes;  // sizes and presence are all that is asked of them
  for (const std::string& text : tensors) {
    named.push_back(parse_tensor(text, c.dtype));
    if (named.size() == 1 && !is_integer(named[0].spec.dtype)) c.dtype = named[0].spec.dtype;  // what others have that name none
    check<OptionError>(shapes.emplace(named.back().name, HostTensor(named.back().spec)).second, "--tensor: '", named.back().name,
                       "' is there twice");
  }
  Settings asked(settings);
  const std::shared_ptr<Layer> made = entry.make(shapes, asked);
  const std::vector<std::string> unknown = asked.unused();
  check<OptionError>(unknown.empty(), layer, " has no setting '", unknown.empty() ? std::string() : unknown.front(), "'; it has ",
                     setting_keys(entry));
  init_random(*made, 7);
  for (const NamedSpec& tensor : named) {
    if (is_parameter(*made, tensor.name)) continue;
    c.inputs.push_back({tensor.spec.shape, tensor.spec.dtype, format});
  }
  const Inferred inferred = made->infer(c.inputs);
  c.bytes = inferred.bytes;
  for (const TensorSpec& out : inferred.out) c.outs.push_back({out.shape, out.dtype, format});
  c.step.layer = made;
  c.step.path = layer;
  c.step.format = format;
  c.step.flops = inferred.flops;
  for (const std::string& text : then) c.step.epilogue.push_back(epilogue_step(text));
  check<OptionError>(made->absorbs(c.inputs, c.step.ops()) == then.size() && (then.empty() || c.outs.size() == 1), layer,
                     " does not apply these steps at its store: --then", joined(then, " "));
  for (const FusedOp& op : c.step.epilogue) {
    if (op.op.kind == EpilogueOp::Kind::activation) continue;
    c.inputs.push_back(c.outs[0]);
    c.bytes += static_cast<double>(c.outs[0].bytes());
  }
  for (const std::vector<TensorSpec>* specs : {&c.inputs, &c.outs}) {
    for (const TensorSpec& spec : *specs) {
      PlanValue value;
      value.spec = spec;
      (specs == &c.inputs ? c.step.inputs : c.step.outputs).push_back(static_cast<int>(c.plan.values.size()));
      c.plan.values.push_back(std::move(value));
    }
  }
  return c;
}

bool takes_format(const LayerCase& c) {
  const FormatRule rule = c.step.layer->formats(std::span(c.inputs).first(c.step.layer_inputs()));
  if (c.format == Format::nchw) return rule.nchw;
  const auto tells = [](const TensorSpec& s) { return !same_layout(s.shape); };
  return rule.nhwc && (std::any_of(c.inputs.begin(), c.inputs.end(), tells) || std::any_of(c.outs.begin(), c.outs.end(), tells));
}

int bench_layer_command(const BenchOpOptions& options, std::ostream& out) {
  const std::vector<LayerCase> cases = cases_of(options);
  const std::string device = use_bench_device(options.device);
  const TuningCacheScope cache(default_tuning_cache_file());
  LayerBenchSettings settings;
  settings.rounds = options.rounds;
  settings.tune = !options.no_tune;
  settings.check = !options.no_check;
  settings.profile = options.profile;
  TextTable table({{"case"},
                   {"type"},
                   {"format"},
                   {"MB", Align::right},
                   {"us", Align::right},
                   {"spread", Align::right},
                   {"copy us", Align::right},
                   {"ratio", Align::right},
                   {"budget", Align::right},
                   {"kernel"}});
  std::string json, csv;
  bool right = true;
  for (const LayerCase& c : cases) {
    LayerResult r;
    try {
      r = bench_layer(c, settings);
    } catch (const CudaError& e) {
      if (cases.size() == 1) throw;
      r.skipped = e.what();  // the others are measured all the same
      right = false;
    }
    right = right && r.share <= 1;
    json += (json.empty() ? "" : ",\n  ") + row_json(c, r);
    csv += row_csv(c, r);
    add_row(table, c, r);
  }
  if (options.csv) {
    out << "case,dtype,format,bytes,us,spread,copy_us,ratio,share_of_budget,kernel,skipped\n" << csv;
  } else if (options.json) {
    out << JsonObject()
               .add("layer", options.layer)
               .add("device", device)
               .add("version", version())
               .add("commit", commit())
               .add("cuda", cuda_toolkit_version())
               .add("protocol", "cold")
               .add("rounds", options.rounds)
               .add("tuned", !options.no_tune)
               .raw("results", "[\n  " + json + "]")
               .text()
        << '\n';
  } else {
    out << options.layer << " on " << device << (options.no_tune ? ", not tuned" : "") << '\n'
        << table.text() << "cold: one graph over more than twice the L2 cache; medians of " << counted(options.rounds, "round")
        << "\nratio: the better of copy kernel and cudaMemcpyAsync of as many bytes in the same rounds / the layer, 'of 1.5': times 1.5, "
           "as "
           "x is read twice; budget: share of the error budget, '-' not compared\n";
  }
  return right ? kExitOk : kExitVerifyFailed;
}

}  // namespace frieze::tools

#include <frieze/graph/against.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <frieze/core/error.h>
#include <frieze/core/nearest.h>

namespace frieze {
namespace {

// Takes the file's tensors apart into inputs and outputs, and refuses what does not fit.
class ExpectedValues {
 public:
  ExpectedValues(const Plan& plan, const Weights& file, const std::vector<std::string>& given) : plan_(plan), file_(file) {
    for (const std::string& name : given) (void)plan.input(name);
    for (const PlanPort& port : plan.inputs) {
      const bool held = std::find(given.begin(), given.end(), port.name) != given.end();
      check<WeightsError>(!held || !file.contains(port.name), file.source(), ": tensor ", quote(port.name),
                          " is an input that is given otherwise");
      if (!held) inputs_.push_back(values_of(port, "input"));
    }
    for (const PlanPort& port : plan.outputs) {
      check<WeightsError>(!is_input(port.name), file.source(), ": ", quote(port.name), " names an input and an output of the model");
      outputs_.push_back(values_of(port, "output"));
    }
    for (const auto& [name, tensor] : file.tensors()) {
      check<WeightsError>(used_.contains(name), file.source(), ": tensor ", quote(name), " ", tensor.shape,
                          " is neither an input nor an output of the model, which has ", names());
    }
  }

  struct Named {
    std::string name;
    std::vector<float> floats;
    std::vector<std::int64_t> integers;  // of a port of integers, instead
  };
  const std::vector<Named>& inputs() const { return inputs_; }
  const std::vector<Named>& outputs() const { return outputs_; }

 private:
  static std::string quote(const std::string& name) { return "'" + printable(name, 120) + "'"; }
  bool is_input(const std::string& name) const {
    return std::any_of(plan_.inputs.begin(), plan_.inputs.end(), [&](const PlanPort& p) { return p.name == name; });
  }
  std::string names() const {
    std::string text;
    for (const auto* ports : {&plan_.inputs, &plan_.outputs}) {
      for (const PlanPort& port : *ports) text += (text.empty() ? "" : ", ") + quote(port.name);
    }
    return printable(text, 400);
  }

  Named values_of(const PlanPort& port, const char* what) {
    const auto& [shape, dtype, format] = plan_.spec(port.value);
    if (!file_.contains(port.name)) {
      NearestName nearest(port.name);
      for (const auto& [name, _] : file_.tensors()) nearest.offer(name);
      throw WeightsError(concat_text(file_.source(), ": no tensor ", quote(port.name), " for the model's ", what, " ", shape,
                                     nearest.found().empty() ? "" : ", nearest name " + quote(nearest.found())));
    }
    used_.insert(port.name);
    const Shape& found = file_.at(port.name).shape;
    check<WeightsError>(found == shape, file_.source(), ": tensor ", quote(port.name), " is ", found, ", the model's ", what, " ", shape);
    if (is_integer(dtype)) {
      const std::string& type = file_.at(port.name).dtype;
      check<WeightsError>(type == "I32" || type == "I64", file_.source(), ": tensor ", quote(port.name), ": dtype: got ", type,
                          ", expected I32 or I64");
      return {port.name, {}, file_.tensor(port.name).integers()};
    }
    std::vector<float> values = file_.floats(port.name);
    const auto bad = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    check<WeightsError>(bad == 0, file_.source(), ": tensor ", quote(port.name), ": ", bad, " of ", values.size(),
                        " values are NaN or Inf in f32: nothing can be compared with them");
    return {port.name, std::move(values), {}};
  }

  const Plan& plan_;
  const Weights& file_;
  std::set<std::string> used_;
  std::vector<Named> inputs_, outputs_;
};

// Independent errors of the steps add up as their squares do; twice, as the other program rounds too.
double derived_tolerance(const Session& net) {
  const bool tf32 = net.device().is_cuda() && net.options().allow_tf32;
  double squares = 0;
  for (const Step& step : net.plan().steps) {
    const DType t = net.plan().spec(step.outputs.front()).dtype;
    ErrorBudget budget = step_budget(net.plan(), step);
    if (tf32 && t == DType::f32) budget = widened_for_tf32(budget);
    const double b = budget.roundings * unit_roundoff(t) + budget.terms * unit_roundoff(DType::f32);
    squares += b * b;
  }
  // A model without a step that rounds still rounds its inputs.
  for (const PlanPort& port : net.plan().outputs) {
    const double u = unit_roundoff(net.plan().spec(port.value).dtype);
    squares = std::max(squares, u * u);
  }
  return 2 * std::sqrt(squares);
}

AgainstOutput compared(const ExpectedValues::Named& want, const HostTensor& output, double tolerance) {
  AgainstOutput out;
  out.name = want.name;
  out.spec = output.spec();
  const bool integers = is_integer(out.spec.dtype);
  const std::vector<float> got = output.floats();
  const std::vector<float> expected = integers ? std::vector<float>(want.integers.begin(), want.integers.end()) : want.floats;
  for (const float v : got) {
    out.nan += std::isnan(v) ? 1 : 0;
    out.inf += std::isinf(v) ? 1 : 0;
  }
  double least = INFINITY, most = -INFINITY, squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    least = std::min<double>(least, expected[i]);
    most = std::max<double>(most, expected[i]);
    const double d = static_cast<double>(got[i]) - static_cast<double>(expected[i]);
    squares += d * d;
  }
  out.largest = std::max(std::abs(least), std::abs(most));
  out.difference = integers ? difference(output.integers(), want.integers)
                            : difference(got, expected, out.spec.dtype, {.roundings = 0, .terms = tolerance / unit_roundoff(DType::f32)});
  const double rms = std::sqrt(squares / static_cast<double>(got.size()));
  // Of a constant output the range is nothing: its magnitude stands for it.
  const double range = most > least ? most - least : out.largest;
  out.psnr = rms == 0 ? INFINITY : 20 * std::log10(range / rms);
  return out;
}

}  // namespace

bool AgainstReport::ok() const {
  return std::all_of(outputs.begin(), outputs.end(), [](const AgainstOutput& output) { return output.ok(); });
}

AgainstReport verify_against(Session& net, const Weights& file, const AgainstOptions& options) {
  check<OptionError>(options.tolerance >= 0 && std::isfinite(options.tolerance),
                     "verify against a file: a tolerance of at least 0 is expected, got ", options.tolerance);
  const ExpectedValues expected(net.plan(), file, options.given);
  AgainstReport report;
  report.device = net.device().name();
  report.file = file.source();
  report.tf32 = net.device().is_cuda() && net.options().allow_tf32;
  report.tolerance_was_given = options.tolerance > 0;
  report.tolerance = report.tolerance_was_given ? options.tolerance : derived_tolerance(net);
  for (const auto& input : expected.inputs()) {
    Port port = net.input(input.name);
    if (is_integer(port.spec().dtype)) {
      port.copy_from(input.integers);
    } else {
      port.copy_from(input.floats);
    }
    report.inputs.push_back(input.name);
  }
  net.run();
  for (const auto& output : expected.outputs()) {
    report.outputs.push_back(compared(output, net.output(output.name).to_host(), report.tolerance));
  }
  return report;
}

}  // namespace frieze

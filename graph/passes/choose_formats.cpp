#include <algorithm>
#include <array>
#include <set>

#include <frieze/graph/passes/passes.h>
#include <frieze/graph/reformat.h>

namespace frieze {
namespace {

class FormatChooser {
 public:
  FormatChooser(Plan plan, bool allow_nhwc, bool views)
      : plan_(std::move(plan)), allow_nhwc_(allow_nhwc), views_(views), variants_(plan_.values.size()) {
    for (std::size_t id = 0; id < variants_.size(); ++id) {
      variants_[id].fill(-1);
      variants_[id][index(plan_.values[id].spec.format)] = static_cast<int>(id);
    }
  }

  Plan run() {
    for (Step& step : plan_.steps) {
      if (views_ && fold(step)) continue;
      if (views_ && look(step)) {
        done_.push_back(std::move(step));
        continue;
      }
      step.format = choose(step);
      for (int& id : step.inputs) id = in_format(id, step.format);
      for (const int id : step.outputs) set_format(id, step.format);
      done_.push_back(std::move(step));
    }
    finish_outputs();
    return rebuilt(plan_, std::move(done_));
  }

 private:
  static std::size_t index(Format f) { return static_cast<std::size_t>(f); }

  TensorSpec& spec(int id) { return plan_.values[static_cast<std::size_t>(id)].spec; }

  Format choose(const Step& step) {
    std::vector<TensorSpec> specs;
    Format incoming = Format::nchw;
    bool settled = false;
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const TensorSpec& in = spec(step.inputs[i]);
      if (i < step.layer_inputs()) specs.push_back(in);
      if (!settled && !same_layout(in.shape) && plan_.constant(step.inputs[i]) == nullptr) {
        incoming = in.format;
        settled = true;
      }
    }
    const FormatRule rule = step.layer->formats(specs);
    Format wanted = allow_nhwc_ ? rule.prefers.value_or(incoming) : Format::nchw;
    if (wanted == Format::nhwc && !rule.nhwc) wanted = Format::nchw;
    if (wanted == Format::nchw && !rule.nchw) wanted = Format::nhwc;
    return wanted;
  }

  // A layer that only looks at its input looks at the memory as it is, if that can be; its outputs' formats follow.
  bool look(Step& step) {
    if (step.inputs.size() != 1 || !step.epilogue.empty()) return false;
    const TensorSpec& x = spec(step.inputs[0]);
    std::vector<Format> formats;
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const auto layout = step.layer->output_layout({&x, 1}, k, {0, contiguous_strides(x.shape, x.format)});
      if (!layout) return false;
      formats.push_back(nearest_format(spec(step.outputs[k]).shape, layout->strides));
    }
    step.format = x.format;
    for (std::size_t k = 0; k < step.outputs.size(); ++k) set_format(step.outputs[k], formats[k]);
    return true;
  }

  // The channels of nhwc lie closer to each other than anything else does.
  static Format nearest_format(const Shape& shape, const Strides& strides) {
    if (same_layout(shape)) return Format::nchw;
    for (const int axis : {2, 3}) {
      if (shape[axis] > 1 && strides[static_cast<std::size_t>(axis)] < strides[1]) return Format::nchw;
    }
    return Format::nhwc;
  }

  void set_format(int id, Format format) {
    variants_[static_cast<std::size_t>(id)].fill(-1);
    variants_[static_cast<std::size_t>(id)][index(format)] = id;
    spec(id).format = format;
  }

  // The value in `format`: itself, an earlier conversion of it, or a new one.
  int in_format(int id, Format format) {
    if (same_layout(spec(id).shape)) return id;
    const int known = variants_[static_cast<std::size_t>(id)][index(format)];
    if (known >= 0) return known;
    if (const PlanConstant* const c = plan_.constant(id)) return add_constant(*c, format);
    const int made = add_reformat(id, format, std::string(":").append(name(format)));
    variants_[static_cast<std::size_t>(id)][index(format)] = made;
    return made;
  }

  // What only looks at a constant is a constant itself, made here once: it may then lie in any format from the beginning.
  bool fold(const Step& step) {
    if (step.inputs.size() != 1 || !step.epilogue.empty()) return false;
    const PlanConstant* const source = plan_.constant(step.inputs[0]);
    if (source == nullptr) return false;
    const HostTensor from = constant_tensor(plan_, *source);
    const TensorSpec& x = from.spec();
    std::vector<HostTensor> made;
    std::vector<TensorView> out;
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const int id = step.outputs[k];
      const bool given = std::any_of(plan_.outputs.begin(), plan_.outputs.end(), [id](const PlanPort& port) { return port.value == id; });
      if (given || !step.layer->output_layout({&x, 1}, k, {0, contiguous_strides(x.shape, x.format)})) return false;
      made.emplace_back(TensorSpec{spec(id).shape, spec(id).dtype});
      out.push_back(made.back().view());
    }
    const TensorView in[] = {from.view()};
    step.layer->reference({in, out, x.dtype});
    for (std::size_t k = 0; k < made.size(); ++k) {
      PlanConstant constant{step.outputs[k]};
      if (is_integer(made[k].spec().dtype)) {
        constant.integers = std::make_shared<const HostTensor>(std::move(made[k]));
      } else {
        constant.values = made[k].floats();
      }
      plan_.values[static_cast<std::size_t>(step.outputs[k])].producer = -1;
      plan_.constants.push_back(std::move(constant));
    }
    return true;
  }

  // The same constant in `format`: it lies so from the beginning.
  int add_constant(PlanConstant copy, Format format) {
    const int id = copy.value;
    PlanValue value = plan_.values[static_cast<std::size_t>(id)];
    value.spec.format = format;
    const int made = static_cast<int>(plan_.values.size());
    copy.value = made;
    plan_.constants.push_back(std::move(copy));
    plan_.values.push_back(std::move(value));
    variants_.push_back({});
    variants_.back().fill(-1);
    variants_.back()[index(format)] = made;
    variants_[static_cast<std::size_t>(id)][index(format)] = made;
    return made;
  }

  int add_reformat(int id, Format format, const std::string& suffix) {
    PlanValue value = plan_.values[static_cast<std::size_t>(id)];
    value.name += suffix;
    value.spec.format = format;
    Step step;
    step.layer = std::make_shared<Reformat>();
    step.path = value.name;
    step.inputs = {id};
    const int made = static_cast<int>(plan_.values.size());
    step.outputs = {made};
    step.format = format;
    step.bytes = 2.0 * static_cast<double>(value.spec.bytes());
    plan_.values.push_back(std::move(value));
    variants_.emplace_back();
    variants_.back().fill(-1);
    variants_.back()[index(format)] = made;
    done_.push_back(std::move(step));
    return made;
  }

  void finish_outputs() {
    Format wanted = Format::nchw;
    for (const PlanPort& port : plan_.inputs) {
      if (spec(port.value).shape.rank() == 4) {
        wanted = spec(port.value).format;
        break;
      }
    }
    std::set<int> taken;
    for (const PlanPort& port : plan_.inputs) taken.insert(port.value);
    for (PlanPort& port : plan_.outputs) {
      int id = in_format(port.value, wanted);
      if (!taken.insert(id).second) id = add_reformat(id, spec(id).format, ":copy");
      taken.insert(id);
      port.value = id;
    }
    // A layout that both formats share carries the name that the caller expects.
    for (const PlanPort& port : plan_.outputs) spec(port.value).format = wanted;
  }

  Plan plan_;
  bool allow_nhwc_, views_;
  std::vector<std::array<int, 2>> variants_;
  std::vector<Step> done_;
};

}  // namespace

Plan choose_formats(Plan plan, bool allow_nhwc, bool views) { return FormatChooser(std::move(plan), allow_nhwc, views).run(); }

}  // namespace frieze

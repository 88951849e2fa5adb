// Values become views of storages: what only looks at a value reads its memory, what a concatenation takes is written where it belongs.
// Where a kernel, or a port, does not allow that, one copy step stands instead, and says why.
#include <algorithm>
#include <map>
#include <optional>

#include <frieze/core/error.h>
#include <frieze/core/layout.h>
#include <frieze/graph/passes/passes.h>
#include <frieze/graph/reformat.h>

namespace frieze {
namespace {

constexpr std::int64_t kAlignment = 16;  // bytes: what kernels load at once, and what a port promises

bool takes(Strided rule, const TensorSpec& spec, Format format, const Layout& layout) {
  if (rule == Strided::any) return true;
  const auto whole = [&](std::int64_t elements) { return elements * static_cast<std::int64_t>(size_of(spec.dtype)) % kAlignment == 0; };
  if (!whole(layout.offset)) return false;
  if (TensorView(nullptr, spec.shape, spec.dtype, layout.strides).is_contiguous(format)) return true;
  if (rule == Strided::no) return false;
  const std::optional<std::int64_t> step = channel_range_step(spec.shape, layout.strides, format);
  return step && whole(*step);
}

class Viewer {
 public:
  explicit Viewer(Plan plan)
      : plan_(std::move(plan)),
        users_(plan_.values.size()),
        looks_(plan_.steps.size(), false),
        holds_(plan_.steps.size(), false),
        is_view_(plan_.steps.size(), false),
        copies_before_(plan_.steps.size()),
        copies_behind_(plan_.steps.size()) {
    for (const PlanPort& port : plan_.outputs) ports_[port.value] = "'" + port.name + "' is an output";
    for (const PlanPort& port : plan_.inputs) ports_[port.value] = "'" + port.name + "' is an input";
    for (const PlanConstant& c : plan_.constants) ports_[c.value] = "'" + value(c.value).name + "' is a constant";
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const Step& step = plan_.steps[i];
      rules_.push_back(rule_of(step));
      classify(i);
      for (std::size_t k = 0; k < step.inputs.size(); ++k) users_[at(step.inputs[k])].push_back({i, k});
    }
  }

  Plan run() {
    place_ports(plan_);
    place_constants(plan_);
    for (std::size_t i = plan_.steps.size(); i-- > 0;) {
      if (holds_[i]) place_inputs(i);
    }
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (looks_[i] && !is_view_[i]) look(i);
    }
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) emit(i);
    plan_.steps = std::move(done_);
    return std::move(plan_);
  }

 private:
  struct Use {
    std::size_t step, input;
  };

  static std::size_t at(int id) { return static_cast<std::size_t>(id); }
  PlanValue& value(int id) { return plan_.values[at(id)]; }
  bool placed(int id) const { return plan_.values[at(id)].storage >= 0; }
  Layout layout(int id) const { return {plan_.values[at(id)].offset, plan_.values[at(id)].strides}; }

  std::vector<TensorSpec> specs_of(const Step& step) const {
    std::vector<TensorSpec> specs;
    for (std::size_t k = 0; k < step.layer_inputs(); ++k) {
      specs.push_back(plan_.spec(step.inputs[k]));
      specs.back().format = step.format;
    }
    return specs;
  }
  StrideRule rule_of(const Step& step) const { return step.layer->strides(specs_of(step), step.ops()); }

  // Whether a layer looks at its input another way, or holds its inputs as parts, is seen from how it does with contiguous tensors.
  void classify(std::size_t i) {
    const Step& step = plan_.steps[i];
    if (!step.epilogue.empty()) return;
    const std::vector<TensorSpec> specs = specs_of(step);
    const auto rows = [&](int id) { return Layout{0, contiguous_strides(plan_.spec(id).shape, Format::nchw)}; };
    looks_[i] = step.inputs.size() == 1 && step.layer->output_layout(specs, 0, rows(step.inputs[0])).has_value();
    holds_[i] = step.outputs.size() == 1 && step.layer->input_layout(specs, 0, rows(step.outputs[0])).has_value();
  }

  void put(int id, int storage, const Layout& layout) {
    value(id).storage = storage;
    value(id).offset = layout.offset;
    value(id).strides = layout.strides;
  }

  // Why value `id` cannot lie at `layout` for input `input` of step `at_step`; empty if it can.
  std::string refusal(int id, const Layout& layout, std::size_t at_step) const {
    const PlanValue& v = plan_.values[at(id)];
    if (const auto port = ports_.find(id); port != ports_.end()) return port->second;
    if (placed(id)) return "'" + v.name + "' lies in another place already";
    const auto maker = static_cast<std::size_t>(v.producer);
    if (looks_[maker] && !holds_[maker]) return "'" + v.name + "' is a view of another value";
    if (!takes(rules_[maker].out, v.spec, plan_.steps[maker].format, layout)) return "'" + plan_.steps[maker].path + "' writes it whole";
    for (const Use& use : users_[at(id)]) {
      if (use.step == at_step || looks_[use.step] || holds_[use.step]) continue;
      const Step& user = plan_.steps[use.step];
      const StrideRule& rule = rules_[use.step];
      if (!takes(use.input < user.layer_inputs() ? rule.in : rule.operands, v.spec, user.format, layout))
        return "'" + user.path + "' reads it whole";
    }
    return {};
  }

  // Where value `id` will lie if the value that it is looked at in has memory of its own; nullopt if that does not show it.
  std::optional<Layout> as_looked_at(int id) const {
    if (placed(id)) return layout(id);
    const PlanValue& v = plan_.values[at(id)];
    if (v.producer < 0 || !looks_[at(v.producer)]) return Layout{0, contiguous_strides(v.spec.shape, v.spec.format)};
    const Step& step = plan_.steps[at(v.producer)];
    const std::optional<Layout> input = as_looked_at(step.inputs[0]);
    if (!input) return std::nullopt;
    const auto output = static_cast<std::size_t>(std::find(step.outputs.begin(), step.outputs.end(), id) - step.outputs.begin());
    return step.layer->output_layout(specs_of(step), output, *input);
  }
  // Whether step `i`, which looks at its input, can. A reshape behind a permutation often cannot, but its output can be where the permuted
  // value is written.
  bool shows(std::size_t i) const {
    const Step& step = plan_.steps[i];
    const std::optional<Layout> input = as_looked_at(step.inputs[0]);
    return input && step.layer->output_layout(specs_of(step), 0, *input).has_value();
  }

  // The inputs of a concatenation, or the one of a reshape whose output has its place: into the output's memory.
  void place_inputs(std::size_t i) {
    Step& step = plan_.steps[i];
    const int y = step.outputs[0];
    if (looks_[i] && !placed(y) && shows(i)) return;  // its output becomes a view of the input
    if (!placed(y)) place_own(plan_, y);
    const std::vector<TensorSpec> specs = specs_of(step);
    std::vector<std::size_t> copied;
    std::vector<std::string> reasons;
    std::vector<std::optional<Layout>> layouts;
    for (std::size_t k = 0; k < step.inputs.size(); ++k) {
      layouts.push_back(step.layer->input_layout(specs, k, layout(y)));
      reasons.push_back(layouts[k] ? refusal(step.inputs[k], *layouts[k], i) : "its shape has no place in the output's memory");
      if (reasons[k].empty()) {
        put(step.inputs[k], value(y).storage, *layouts[k]);
      } else {
        copied.push_back(k);
      }
    }
    if (copied.size() == step.inputs.size() || std::any_of(layouts.begin(), layouts.end(), [](const auto& l) { return !l; })) {
      step.note = "copied, as " + reasons[copied.front()];
      return;
    }
    is_view_[i] = true;
    for (const std::size_t k : copied) {
      const std::string path = concat_text(step.path, ":part", k);
      const int part = add_value(step.inputs[k], path, step.format);
      put(part, value(y).storage, *layouts[k]);
      copies_before_[i].push_back(copy_step(step.inputs[k], part, path, "copied, as " + reasons[k]));
      step.inputs[k] = part;
    }
  }

  // The outputs of a slice, split, reshape: views of its input.
  void look(std::size_t i) {
    Step& step = plan_.steps[i];
    const int x = step.inputs[0];
    if (!placed(x)) place_own(plan_, x);
    const std::vector<TensorSpec> specs = specs_of(step);
    std::vector<std::size_t> copied;
    std::vector<Layout> layouts;
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const std::optional<Layout> found = step.layer->output_layout(specs, k, layout(x));
      if (!found) {
        step.note = concat_text("copied, as no strides show '", value(x).name, "' so");
        return;
      }
      layouts.push_back(*found);
      if (placed(step.outputs[k])) copied.push_back(k);
    }
    const auto why = [&](std::size_t k) {
      const int id = step.outputs[k];
      if (const auto port = ports_.find(id); port != ports_.end()) return "copied, as " + port->second;
      return "copied, as '" + value(id).name + "' lies in another place already";
    };
    if (copied.size() == step.outputs.size()) {
      if (step.note.empty()) step.note = why(0);
      return;
    }
    is_view_[i] = true;
    step.note.clear();
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const int y = step.outputs[k];
      if (std::find(copied.begin(), copied.end(), k) == copied.end()) {
        put(y, value(x).storage, layouts[k]);
        continue;
      }
      const int view = add_value(y, value(y).name + ":view", value(y).spec.format);
      put(view, value(x).storage, layouts[k]);
      copies_behind_[i].push_back(copy_step(view, y, output_name(step.path, k, step.outputs.size()), why(k)));
      step.outputs[k] = view;
    }
  }

  void emit(std::size_t i) {
    for (Step& copy : copies_before_[i]) push(std::move(copy));
    Step step = std::move(plan_.steps[i]);
    if (is_view_[i]) {
      int ready = -1;
      for (const int id : step.inputs) ready = std::max(ready, value(id).producer);
      for (const int id : step.outputs) value(id).producer = ready;
      plan_.views.push_back({std::move(step), static_cast<int>(done_.size())});
    } else {
      for (std::size_t k = 0; k < step.inputs.size(); ++k) {
        const int id = step.inputs[k];
        const bool operand = k >= step.layer_inputs();
        if (!placed(id)) place_own(plan_, id);
        if (!takes(operand ? rules_[i].operands : rules_[i].in, value(id).spec, step.format, layout(id))) {
          step.inputs[k] = contiguous(id, step);
        }
      }
      push(std::move(step));
    }
    for (Step& copy : copies_behind_[i]) push(std::move(copy));
  }

  // The value, contiguous in the format of a step that takes no other memory.
  int contiguous(int id, const Step& user) {
    int& known = contiguous_[{id, user.format}];
    if (known > 0) return known - 1;
    const std::string path = value(id).name + ":contiguous";
    const int made = add_value(id, path, user.format);
    known = made + 1;
    push(copy_step(id, made, path, "copied, as '" + user.path + "' reads it whole"));
    return made;
  }

  void push(Step step) {
    for (const int id : step.outputs) {
      if (!placed(id)) place_own(plan_, id);
      value(id).producer = static_cast<int>(done_.size());
    }
    done_.push_back(std::move(step));
  }

  // Another value with the spec of `like`.
  int add_value(int like, const std::string& name, Format format) {
    PlanValue fresh{value(like).spec, name};
    if (fresh.spec.shape.rank() == 4) fresh.spec.format = format;
    plan_.values.push_back(std::move(fresh));
    return static_cast<int>(plan_.values.size()) - 1;
  }

  Step copy_step(int from, int to, const std::string& path, const std::string& why) {
    Step step;
    step.layer = std::make_shared<Reformat>();
    step.path = path;
    step.inputs = {from};
    step.outputs = {to};
    step.format = value(to).spec.format;
    step.bytes = 2.0 * static_cast<double>(value(to).spec.bytes());
    step.note = why;
    return step;
  }

  Plan plan_;
  std::map<int, std::string> ports_;  // and constants, by value: "'x' is an input"
  std::vector<StrideRule> rules_;
  std::vector<std::vector<Use>> users_;  // by value
  std::vector<char> looks_, holds_, is_view_;
  std::vector<std::vector<Step>> copies_before_, copies_behind_;
  std::map<std::pair<int, Format>, int> contiguous_;  // one more than the copy's number
  std::vector<Step> done_;
};

}  // namespace

Plan find_views(Plan plan) {
  Plan viewed = Viewer(without_views(std::move(plan))).run();
  viewed.validate();
  return viewed;
}

}  // namespace frieze

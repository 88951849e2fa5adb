#include <map>

#include <frieze/core/error.h>
#include <frieze/graph/plan.h>
#include <frieze/graph/repeat.h>
#include <frieze/graph/report/text_table.h>

namespace frieze {
namespace {

std::string layer_text(const Step& step) {
  const std::string options = step.layer->describe();
  return std::string(step.layer->type_name()) + (options.empty() ? "" : " " + options) + (step.note.empty() ? "" : ", " + step.note);
}

// What is looked at without a step, and how: "offset 128, strides [4096,1,512,64] in qkv".
std::string views_table(const Plan& plan) {
  if (plan.views.empty()) return {};
  TextTable table({{"view"}, {"layer"}, {"output"}, {"lies at"}, {"in the memory of"}});
  for (const PlanView& view : plan.views) {
    for (std::size_t k = 0; k < view.step.outputs.size(); ++k) {
      const PlanValue& value = plan.values[static_cast<std::size_t>(view.step.outputs[k])];
      const PlanValue& owner = plan.values[static_cast<std::size_t>(plan.storages[static_cast<std::size_t>(value.storage)].owner)];
      std::string strides;
      for (int axis = 0; axis < value.spec.shape.rank(); ++axis) {
        strides += concat_text(axis == 0 ? "" : ",", value.strides[static_cast<std::size_t>(axis)]);
      }
      table.row({output_name(view.step.path, k, view.step.outputs.size()), layer_text(view.step), concat_text(value.spec),
                 concat_text(value.offset, " by [", strides, "]"), owner.name});
    }
  }
  return table.text();
}

std::string port_lines(const Plan& plan, const std::vector<PlanPort>& ports, const char* what) {
  std::string text;
  for (const PlanPort& port : ports) text += concat_text(what, " ", port.name, ": ", plan.spec(port.value), "\n");
  return text;
}

// Not the values themselves: "constant pos_embed: [1,384,16,16] bf16".
std::string constant_lines(const Plan& plan) {
  std::string text;
  for (const PlanConstant& c : plan.constants) {
    const PlanValue& value = plan.values[static_cast<std::size_t>(c.value)];
    text += concat_text("constant ", value.name, ": ", value.spec, "\n");
  }
  return text;
}

// "rewrites: batch norm into weights (12), …": those that applied, and in how many places; nothing if none did.
std::string rewrites_line(const Plan& plan) {
  std::string list;
  for (const AppliedRewrite& rewrite : applied_rewrites(plan))
    list += concat_text(list.empty() ? "" : ", ", rewrite.name, " (", rewrite.times, ")");
  return list.empty() ? list : "rewrites: " + list + "\n";
}

// Graphviz strings: quotes and backslashes escaped.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::string plan_text(const Plan& plan) {
  plan.check_alive();
  TextTable table({{"step", Align::right}, {"path"}, {"layer"}, {"fused"}, {"output"}, {"MFLOP", Align::right}, {"MB", Align::right}});
  double flops = 0, bytes = 0;
  // A loop's row counts all its iterations; its body's rows below count one, and their numbers begin with the loop's.
  const std::function<void(const Plan&, const std::string&)> add_rows = [&](const Plan& part, const std::string& prefix) {
    for (std::size_t i = 0; i < part.steps.size(); ++i) {
      const Step& step = part.steps[i];
      const std::string number = prefix + std::to_string(i);
      table.row({number, step.path, layer_text(step), step.label().substr(step.path.size()), outputs_text(part, step),
                 fixed(step.flops / 1e6, 2), fixed(step.bytes / 1e6, 2)});
      if (const Repeat* const loop = loop_of(step)) add_rows(loop->body(), number + ".");
    }
  };
  add_rows(plan, "");
  for (const Step& step : plan.steps) flops += step.flops, bytes += step.bytes;
  std::string constants;  // those of the bodies of loops too
  visit_plans(plan, [&](const Plan& part) { constants += constant_lines(part); });
  return port_lines(plan, plan.inputs, "input") + constants + table.text() + views_table(plan) + port_lines(plan, plan.outputs, "output") +
         rewrites_line(plan) +
         concat_text(counted(static_cast<std::int64_t>(plan.steps.size()), "step"), ", ", fixed(flops / 1e6, 2), " MFLOP, at least ",
                     fixed(bytes / 1e6, 2), " MB moved\n");
}

std::string plan_dot(const Plan& plan) {
  plan.check_alive();
  std::string dot = "digraph plan {\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n";
  std::map<int, std::size_t> made_by_view;
  for (std::size_t i = 0; i < plan.views.size(); ++i) {
    for (const int id : plan.views[i].step.outputs) made_by_view[id] = i;
  }
  // A value's node: the step that makes it, the view that it is, or the input port.
  const auto node = [&](int value) {
    if (const auto view = made_by_view.find(value); view != made_by_view.end()) return concat_text("v", view->second);
    const int producer = plan.values[static_cast<std::size_t>(value)].producer;
    return producer < 0 ? concat_text("in", value) : concat_text("s", producer);
  };
  for (const PlanPort& port : plan.inputs) {
    dot += concat_text("  ", node(port.value), " [shape=ellipse, label=", quoted(port.name), "];\n");
  }
  for (const PlanConstant& c : plan.constants) {
    dot += concat_text("  ", node(c.value), " [shape=note, label=", quoted(plan.values[static_cast<std::size_t>(c.value)].name), "];\n");
  }
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    std::string label = quoted(step.label());
    label.pop_back();  // "\n" is Graphviz's line break, not a character to be escaped
    dot += concat_text("  s", i, " [label=", label, "\\n", quoted(layer_text(step)).substr(1), "];\n");
    for (const int id : step.inputs) dot += concat_text("  ", node(id), " -> s", i, " [label=", quoted(concat_text(plan.spec(id))), "];\n");
  }
  for (std::size_t i = 0; i < plan.views.size(); ++i) {
    const Step& step = plan.views[i].step;
    dot += concat_text("  v", i, " [style=dashed, label=", quoted(step.path + ", a view"), "];\n");
    for (const int id : step.inputs) {
      dot += concat_text("  ", node(id), " -> v", i, " [style=dashed, label=", quoted(concat_text(plan.spec(id))), "];\n");
    }
  }
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    const PlanPort& port = plan.outputs[i];
    dot += concat_text("  out", i, " [shape=ellipse, label=", quoted(port.name), "];\n");
    dot += concat_text("  ", node(port.value), " -> out", i, " [label=", quoted(concat_text(plan.spec(port.value))), "];\n");
  }
  return dot + "}\n";
}

}  // namespace frieze

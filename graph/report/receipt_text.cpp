#include <map>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/receipt.h>
#include <frieze/graph/report/text_table.h>

namespace frieze {
namespace {

std::string kinds_text(const Receipt& receipt) {
  std::map<std::string, int> kinds;
  for (const ReceiptNode& node : receipt.nodes) ++kinds[node.kind];
  std::string text;
  for (const auto& [kind, count] : kinds) text += (text.empty() ? "" : ", ") + counted(count, kind.c_str());
  return text;
}

// How the nodes of one step split into kinds: "2 kernels, 1 memset".
std::string step_nodes(const Receipt& receipt, const ReceiptStep& step) {
  if (!receipt.captured) return "-";
  Receipt one;
  for (const ReceiptNode& node : receipt.nodes) {
    if (node.path == step.path) one.nodes.push_back(node);
  }
  return one.nodes.empty() ? counted(step.nodes, "node") : kinds_text(one);
}

// "8x4" of {8, 4, 1}.
std::string extent_text(const unsigned (&extent)[3]) {
  std::string text = std::to_string(extent[0]);
  if (extent[1] > 1 || extent[2] > 1) text += "x" + std::to_string(extent[1]);
  return extent[2] > 1 ? text + "x" + std::to_string(extent[2]) : text;
}

}  // namespace

std::string Receipt::text() const {
  std::string out = device + ", tf32 " + (tf32 ? "on" : "off") + "\n";
  if (captured) {
    out += concat_text("captured: ", counted(launches_per_run, "launch"), " per run, ",
                       counted(static_cast<std::int64_t>(nodes.size()), "node"), " (", kinds_text(*this), "), ", counted(edges, "edge"),
                       ", ", counted(dependent_launches, "dependent launch"), ", ", counted(streams, "stream"), "\n");
    out += concat_text("prepare ", fixed(prepare_ms, 2), " ms, capture ", fixed(capture_ms, 2), " ms (",
                       capture_attempts == 0 ? "nodes built one by one" : counted(capture_attempts, "attempt"), "), instantiate ",
                       fixed(instantiate_ms, 2), " ms, upload ", fixed(upload_ms, 2), " ms\n");
  } else {
    out += "not captured: a run executes " + counted(static_cast<std::int64_t>(steps.size()), "step") + " one by one\n";
  }
  out += bill_text(memory) + "\n";
  TextTable table({{"path"}, {"layer"}, {"nodes"}, {"workspace", Align::right}, {"algorithm"}});
  for (const ReceiptStep& step : steps) {
    const std::string workspace = step.workspace_bytes == 0 ? "-" : mebibytes(step.workspace_bytes);
    table.row({step.path, step.layer, step_nodes(*this, step), workspace,
               step.note.empty() ? step.algorithm : step.algorithm + "; " + step.note});
  }
  out += table.text();
  if (!views.empty()) {
    TextTable seen({{"view, without a step"}, {"layer"}, {"of the memory of"}});
    for (const ReceiptView& view : views) seen.row({view.path, view.layer, view.of});
    out += "\n" + seen.text();
  }
  if (nodes.empty()) return out;
  TextTable list(
      {{"node", Align::right}, {"kind"}, {"path"}, {"grid"}, {"block"}, {"shared", Align::right}, {"regs", Align::right}, {"kernel"}});
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const ReceiptNode& n = nodes[i];
    const bool kernel = n.kind == "kernel";
    list.row({std::to_string(i), n.kind, n.path, kernel ? extent_text(n.grid) : "-", kernel ? extent_text(n.block) : "-",
              kernel ? std::to_string(n.shared_bytes) : "-", kernel ? std::to_string(n.registers) : "-", n.function});
  }
  return out + "\n" + list.text();
}

std::string Receipt::dot() const {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  };
  std::string text = "digraph captured {\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\"];\n";
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const ReceiptNode& n = nodes[i];
    if (i == 0 || n.path != nodes[i - 1].path) {
      text += concat_text(i == 0 ? "" : "  }\n", "  subgraph cluster_", i, " {\n    label=", quoted(n.path), "\";\n");
    }
    text += concat_text("    n", i, " [label=", quoted(n.kind == "kernel" ? n.function : n.kind));
    if (n.kind == "kernel") text += concat_text("\\n", extent_text(n.grid), " blocks of ", extent_text(n.block));
    text += "\"];\n";
  }
  if (!nodes.empty()) text += "  }\n";
  for (const ReceiptEdge& e : edge_list) text += concat_text("  n", e.from, " -> n", e.to, e.programmatic ? " [style=dashed]" : "", ";\n");
  return text + "}\n";
}

std::ostream& operator<<(std::ostream& out, const Receipt& receipt) { return out << receipt.text(); }

}  // namespace frieze

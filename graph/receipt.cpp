#include <frieze/graph/receipt.h>

#include <algorithm>
#include <map>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/graph/memory_text.h>
#include <frieze/graph/text_table.h>

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

}  // namespace

int Receipt::count(std::string_view kind) const {
  return static_cast<int>(std::count_if(nodes.begin(), nodes.end(), [&](const ReceiptNode& node) { return node.kind == kind; }));
}

std::string Receipt::text() const {
  std::string out = device + ", tf32 " + (tf32 ? "on" : "off") + "\n";
  if (captured) {
    out += concat_text("captured: ", counted(launches_per_run, "launch"), " per run, ",
                       counted(static_cast<std::int64_t>(nodes.size()), "node"), " (", kinds_text(*this), "), ", counted(edges, "edge"),
                       ", ", counted(dependent_launches, "dependent launch"), "\n");
    out += concat_text("prepare ", fixed(prepare_ms, 2), " ms, capture ", fixed(capture_ms, 2), " ms (",
                       counted(capture_attempts, "attempt"), "), instantiate and upload ", fixed(instantiate_ms, 2), " ms\n");
  } else {
    out += "not captured: a run executes " + counted(static_cast<std::int64_t>(steps.size()), "step") + " one by one\n";
  }
  out += bill_text(memory) + "\n";
  TextTable table({{"path"}, {"layer"}, {"nodes"}, {"workspace", Align::right}, {"algorithm"}});
  for (const ReceiptStep& step : steps) {
    const std::string workspace = step.workspace_bytes == 0 ? "-" : mebibytes(step.workspace_bytes);
    table.row({step.path, step.layer, step_nodes(*this, step), workspace, step.algorithm});
  }
  return out + table.text();
}

std::ostream& operator<<(std::ostream& out, const Receipt& receipt) { return out << receipt.text(); }

}  // namespace frieze

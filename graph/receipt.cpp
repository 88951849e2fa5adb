#include <frieze/graph/receipt.h>

#include <algorithm>

namespace frieze {

int Receipt::count(std::string_view kind) const {
  return static_cast<int>(std::count_if(nodes.begin(), nodes.end(), [&](const ReceiptNode& node) { return node.kind == kind; }));
}

int chains_of(std::size_t nodes, const std::vector<ReceiptEdge>& edges) {
  std::vector<char> continued(nodes, 0), begun(nodes, 0);
  for (const ReceiptEdge& e : edges) {  // each node continues at most one other, and is continued by at most one
    const auto from = static_cast<std::size_t>(e.from), to = static_cast<std::size_t>(e.to);
    if (continued[from] == 0 && begun[to] == 0) continued[from] = begun[to] = 1;
  }
  return static_cast<int>(std::count(begun.begin(), begun.end(), 0));
}

}  // namespace frieze

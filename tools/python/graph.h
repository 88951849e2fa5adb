#pragma once
/// Models that Python composes, and sessions as Python calls them.
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <frieze/core/layer.h>
#include <frieze/graph/session.h>

#include "tools/python/binding.h"

namespace frieze::python {

/// A session behind a lock: calls of several threads run one after the other. The GIL is released while a call waits or works.
class Model {
 public:
  Model(Session session, NamedDevice device);

  /// On the CPU values are copied, and converted where types differ. On CUDA the arrays are bound to the graph, which is launched on this
  /// stream: contiguous arrays of the ports' types, and nothing waits.
  void run(const std::vector<Array>& inputs, const std::vector<Output>& outputs, std::uintptr_t stream);
  /// A report as JSON (receipt, verify with `number` as seed, profile with `number` rounds) or text (receipt_text).
  std::string text(const std::string& what, int number);
  nb::list ports(bool outputs) const;
  void close();
  const std::string& device() const { return device_.name; }

 private:
  struct NamedSpec {
    std::string name;
    TensorSpec spec;
  };
  Session& session();
  std::vector<NamedSpec> inputs_, outputs_;
  std::optional<Session> session_;
  NamedDevice device_;
  std::mutex mutex_;
  ProcessCheck process_;
};

/// What frieze.Graph records: each call makes a layer and a node. Nodes are numbered in the order in which they are made.
class Recorder {
 public:
  int input(const std::string& name, const nb::tuple& shape, const std::string& dtype);
  /// `layer`: a name of `frieze op --list`, or softmax, global_avg_pool. `settings`: "key=value". Throws what the layer throws.
  int step(const std::string& layer, const std::vector<int>& inputs, const std::map<std::string, Array>& parameters,
           const std::vector<std::string>& settings);
  const TensorSpec& spec(int node) const;
  std::shared_ptr<Model> compile(const std::map<std::string, int>& outputs, const std::string& device, bool tune, bool tf32,
                                 std::int64_t max_memory) const;

 private:
  struct Input {
    int node;
    InputSpec spec;
  };
  struct Step {
    int node;
    std::string name;
    std::shared_ptr<const Layer> layer;
    std::vector<int> inputs;
  };
  struct Recorded;

  std::vector<Input> inputs_;
  std::vector<Step> steps_;
  std::vector<TensorSpec> specs_;  // by node
};

}  // namespace frieze::python

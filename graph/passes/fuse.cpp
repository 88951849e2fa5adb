#include <algorithm>
#include <optional>

#include <frieze/graph/passes/passes.h>

namespace frieze {
namespace {

class Fuser {
 public:
  explicit Fuser(Plan plan) : plan_(std::move(plan)), users_(plan_.values.size()), removed_(plan_.steps.size(), false) {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      for (const int id : plan_.steps[i].inputs) users(id).add(i);
    }
    for (const PlanPort& port : plan_.outputs) users(port.value).add(kOutside);
  }

  Plan run() {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (!removed_[i] && plan_.steps[i].epilogue.empty()) grow(i);
    }
    std::vector<Step> kept;
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      if (!removed_[i]) kept.push_back(std::move(plan_.steps[i]));
    }
    return rebuilt(plan_, std::move(kept));
  }

 private:
  static constexpr std::size_t kOutside = static_cast<std::size_t>(-1);

  // The steps that use a value, as far as the pass asks: how many, and which one if there is one.
  struct Users {
    std::size_t count = 0, sum = 0;  // of their indices; wraps around
    void add(std::size_t step) { ++count, sum += step; }
    void replace(std::size_t old_step, std::size_t new_step) { sum += new_step - old_step; }
    std::size_t only() const { return count == 1 ? sum : kOutside; }
  };
  Users& users(int id) { return users_[static_cast<std::size_t>(id)]; }

  // Absorbs as long as the producer agrees. Each time the pair takes the place of the absorbed step, where every operand
  // has been made: nothing in between can need the producer's value, since the absorbed step is its only user.
  void grow(std::size_t at) {
    const std::size_t own_inputs = plan_.steps[at].inputs.size();
    for (;;) {
      const Step& producer = plan_.steps[at];
      if (producer.outputs.size() != 1) return;
      const std::size_t next = users(producer.output()).only();
      if (next == kOutside) return;
      std::optional<Absorbed> absorbed = match(producer, plan_.steps[next]);
      if (!absorbed) return;
      std::vector<TensorSpec> specs;
      for (std::size_t i = 0; i < own_inputs; ++i) specs.push_back(plan_.spec(producer.inputs[i]));
      std::vector<EpilogueOp> chain = producer.ops();
      chain.push_back(absorbed->op);
      if (producer.layer->absorbs(specs, chain) < chain.size()) return;
      merge(at, next, *absorbed);
      at = next;
    }
  }

  struct Absorbed {
    EpilogueOp op;
    std::optional<int> operand;
  };

  std::optional<Absorbed> match(const Step& producer, const Step& consumer) const {
    // An epilogue takes one operand at most, and makes one value.
    if (!consumer.epilogue.empty() || consumer.inputs.size() > 2 || consumer.outputs.size() != 1) return std::nullopt;
    std::vector<int> inputs = consumer.inputs;
    const auto self = std::find(inputs.begin(), inputs.end(), producer.output());
    std::iter_swap(inputs.begin(), self);  // add and mul commute: the producer's value comes first
    std::vector<TensorSpec> specs;
    for (const int id : inputs) specs.push_back(plan_.spec(id));
    const std::optional<EpilogueOp> op = consumer.layer->as_epilogue(specs);
    if (!op) return std::nullopt;
    if (op->kind == EpilogueOp::Kind::activation) return Absorbed{*op, std::nullopt};
    return Absorbed{*op, inputs[1]};
  }

  void merge(std::size_t at, std::size_t next, const Absorbed& absorbed) {
    Step merged = std::move(plan_.steps[at]);
    for (const int id : merged.inputs) users(id).replace(at, next);
    Step& consumer = plan_.steps[next];
    merged.epilogue.push_back({absorbed.op, consumer.layer, consumer.path});
    merged.flops += consumer.flops;
    if (absorbed.operand) {
      merged.inputs.push_back(*absorbed.operand);
      merged.bytes += static_cast<double>(plan_.spec(*absorbed.operand).bytes());
    }
    merged.outputs = consumer.outputs;
    removed_[at] = true;
    consumer = std::move(merged);
  }

  Plan plan_;
  std::vector<Users> users_;
  std::vector<bool> removed_;
};

}  // namespace

Plan fuse(Plan plan) { return Fuser(std::move(plan)).run(); }

}  // namespace frieze

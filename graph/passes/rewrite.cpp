#include <optional>

#include <frieze/graph/passes/passes.h>

namespace frieze {
namespace {

using Layers = std::vector<std::shared_ptr<const Layer>>;

class Rewriter {
 public:
  explicit Rewriter(Plan plan) : plan_(std::move(plan)), uses_(plan_.values.size(), 0), makers_(plan_.values.size(), kNobody) {
    for (const Step& step : plan_.steps) {
      for (const int id : step.inputs) ++uses_[static_cast<std::size_t>(id)];
    }
    for (const PlanPort& port : plan_.outputs) ++uses_[static_cast<std::size_t>(port.value)];
  }

  Plan run() {
    for (Step& step : plan_.steps) add(std::move(step));
    std::vector<Step> kept;
    for (std::optional<Step>& step : done_) {
      if (step) kept.push_back(std::move(*step));
    }
    return rebuilt(plan_, std::move(kept));
  }

 private:
  // The step that makes the only input of `step`, if nobody else uses what it makes; else nullptr.
  std::optional<Step>* producer(const Step& step) {
    if (step.inputs.size() != 1 || step.outputs.size() != 1 || uses_[static_cast<std::size_t>(step.inputs[0])] != 1) return nullptr;
    const std::size_t maker = makers_[static_cast<std::size_t>(step.inputs[0])];
    return maker != kNobody && done_[maker]->inputs.size() == 1 && done_[maker]->outputs.size() == 1 ? &done_[maker] : nullptr;
  }

  void add(Step step) {
    std::optional<Step>* before = producer(step);
    if (before == nullptr) return keep(std::move(step));
    Layers layers;
    Step first = **before;  // what the replacement takes its input and its name from
    if (const auto affine = step.layer->as_channel_affine()) {
      if (auto merged = first.layer->with_channel_affine(*affine)) layers = {std::move(merged)};
      first.merged.push_back(step.path);  // its value is what both make together
      append(first.merged, step.merged);
    } else if (const auto op = first.layer->as_prologue()) {
      layers = step.layer->after_prologue(*op);
      first.replaced.push_back(first.path);
      append(first.replaced, first.merged);
      first.path = step.path;
      first.merged = step.merged;
    }
    if (layers.empty()) return keep(std::move(step));
    append(first.replaced, step.replaced);
    makers_[static_cast<std::size_t>(first.output())] = kNobody;
    before->reset();
    replace(first, step.output(), layers);
  }

  void keep(Step step) {
    makers_.resize(plan_.values.size(), kNobody);
    for (const int id : step.outputs) makers_[static_cast<std::size_t>(id)] = done_.size();
    done_.emplace_back(std::move(step));
  }

  // `layers` one after the other, from the input of `first` to the value `output`.
  void replace(const Step& first, int output, const Layers& layers) {
    int from = first.inputs[0];
    for (std::size_t i = 0; i < layers.size(); ++i) {
      TensorSpec in = plan_.spec(from);
      in.format = Format::nchw;
      const Inferred inferred = layers[i]->infer({&in, 1});
      Step step;
      step.layer = layers[i];
      // The last one makes what the path has always meant.
      step.path = i + 1 == layers.size() ? first.path : concat_path(first.path, *layers[i]);
      step.inputs = {from};
      step.flops = inferred.flops;
      step.bytes = inferred.bytes;
      if (i + 1 < layers.size()) {
        from = static_cast<int>(plan_.values.size());
        plan_.values.push_back({inferred.out.front(), step.path, -1});
        uses_.push_back(1);
        step.outputs = {from};
      } else {
        step.outputs = {output};
        step.merged = first.merged;
        step.replaced = first.replaced;
      }
      keep(std::move(step));
    }
  }

  static void append(std::vector<std::string>& to, const std::vector<std::string>& more) { to.insert(to.end(), more.begin(), more.end()); }
  static std::string concat_path(const std::string& path, const Layer& layer) { return path + ":" + std::string(layer.type_name()); }

  Plan plan_;
  std::vector<int> uses_;
  std::vector<std::optional<Step>> done_;
  static constexpr std::size_t kNobody = static_cast<std::size_t>(-1);
  std::vector<std::size_t> makers_;  // by value: its step in done_
};

}  // namespace

Plan rewrite(Plan plan) { return Rewriter(std::move(plan)).run(); }

}  // namespace frieze

#include <algorithm>
#include <iterator>
#include <new>
#include <optional>
#include <type_traits>

#include <frieze/core/error.h>
#include <frieze/graph/passes/passes.h>

namespace frieze {
namespace {

// Steps go one after the other from the plan to `order_`, where each is shown to the rewrites. A replacement stands at the end, where the
// shown step stood, and goes through the same again; what it takes away lies before it. So all that is behind the shown step is as the
// plan had it, and no order has to be found: the passes take n log n.
class Rewriter final : public RewritablePlan {
 public:
  Rewriter(Plan plan, const std::vector<Rewrite>& rewrites, RewriteStage stage, RewriteTrail* trail)
      : plan_(std::move(plan)), rewrites_(rewrites), stage_(stage), trail_(trail), times_(rewrites.size(), 0) {
    values_.resize(plan_.values.size());
    for (Step& step : plan_.steps) add_node(std::move(step), 0, true);
    for (const PlanPort& port : plan_.inputs) values_[at(port.value)].is_input = true;
    for (const PlanConstant& c : plan_.constants) values_[at(c.value)].is_input = true;
    for (const PlanPort& port : plan_.outputs) ++values_[at(port.value)].uses, values_[at(port.value)].is_output = true;
  }

  Plan run() {
    const std::size_t originals = nodes_.size();
    for (std::size_t i = 0; i < originals; ++i) {
      todo_ = {static_cast<int>(i)};
      while (!todo_.empty()) {
        const int next = todo_.back();
        todo_.pop_back();
        settle(next);
      }
    }
    std::vector<Step> kept;
    for (const int step : order_) {
      if (!node(step).gone) kept.push_back(std::move(node(step).step));
    }
    count_applied();
    if (trail_ != nullptr) trail_->values = plan_.values;
    return rebuilt(plan_, std::move(kept));
  }

  const std::shared_ptr<const Layer>& layer(int step) const override { return node(step).step.layer; }
  const std::string& path(int step) const override { return node(step).step.path; }
  std::span<const int> inputs(int step) const override { return node(step).step.inputs; }
  std::span<const FusedOp> epilogue(int step) const override { return node(step).step.epilogue; }
  std::span<const int> outputs(int step) const override { return node(step).step.outputs; }
  const TensorSpec& spec(int value) const override { return plan_.spec(value); }
  int maker(int value) const override { return values_[at(value)].maker; }
  std::size_t uses(int value) const override { return values_[at(value)].uses; }
  bool is_output(int value) const override { return values_[at(value)].is_output; }
  std::vector<int> users(int value) const override {
    std::vector<int> alive;
    for (const int step : values_[at(value)].users) {
      if (!node(step).gone) alive.push_back(step);
    }
    alive.erase(std::unique(alive.begin(), alive.end()), alive.end());
    return alive;
  }

 private:
  struct Node {
    Step step;
    int turns = 0;          // replacements that led to this step since one of them took a step of the plan away
    bool original = false;  // of the plan
    bool settled = false, gone = false;
    std::size_t position = 0;  // in order_, once settled
  };
  struct ValueState {
    int maker = -1;
    std::size_t uses = 0;    // with those by outputs of the model
    std::vector<int> users;  // in the order in which they came, gone ones among them
    bool is_input = false, is_output = false;
  };
  // Each replacement takes a step of the plan away, of which there are so many, or stands in a row of at most this length.
  static constexpr int kMostTurns = 32;

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  Node& node(int step) { return nodes_[at(step)]; }
  const Node& node(int step) const { return nodes_[at(step)]; }

  int add_node(Step step, int turns, bool original) {
    const int id = static_cast<int>(nodes_.size());
    for (const int value : step.inputs) {
      ++values_[at(value)].uses;
      values_[at(value)].users.push_back(id);
    }
    for (const int value : step.outputs) values_[at(value)].maker = id;
    nodes_.push_back({std::move(step), turns, original});
    return id;
  }

  void settle(int shown) {
    node(shown).settled = true;
    node(shown).position = order_.size();
    order_.push_back(shown);
    for (std::size_t i = 0; i < rewrites_.size(); ++i) {
      if (rewrites_[i].stage != stage_) continue;
      const std::optional<Replacement> replacement =
          guarded(rewrites_[i], shown, [&] { return rewrites_[i].apply(StepView(*this, shown)); });
      if (!replacement) continue;
      Place place{rewrites_[i], shown, *replacement};
      apply(place);
      ++times_[i];
      if (trail_ != nullptr) trail_->places.push_back({rewrites_[i].name, std::move(place.gone_steps), std::move(place.made_steps)});
      return;
    }
  }

  // Runs code of the rewrite, or of a layer that it gives: what that throws names the rewrite.
  template <class Body>
  std::invoke_result_t<Body> guarded(const Rewrite& rewrite, int shown, const Body& body) const {
    try {
      return body();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const MemoryError&) {
      throw;
    } catch (const std::exception& e) {
      throw Error(where(rewrite, shown) + e.what());
    }
  }

  std::string where(const Rewrite& rewrite, int shown) const {
    return concat_text("rewrite '", rewrite.name, "' at '", path(shown), "': ");
  }

  // One application of a rewrite.
  struct Place {
    const Rewrite& rewrite;
    int shown;
    const Replacement& replacement;
    std::vector<int> gone = {};  // the absorbed steps and, last, the shown one, in the order in which they run
    std::vector<Step> gone_steps = {}, made_steps = {};
  };

  template <class... Parts>
  void require(bool ok, const Place& place, const Parts&... parts) const {
    if (!ok) throw Error(where(place.rewrite, place.shown) + concat_text(parts...));
  }

  void apply(Place& place) {
    find_gone(place);
    std::vector<Step> steps = make_steps(place);
    name_steps(place, steps);
    int turns = 0;
    for (const int step : place.gone) turns = std::max(turns, node(step).turns + 1);
    if (std::any_of(place.gone.begin(), place.gone.end(), [&](int step) { return node(step).original; })) turns = 0;
    require(turns < kMostTurns, place, "it, or one that undoes it, finds no end: ", turns, " replacements in a row of what it made");
    if (trail_ != nullptr) {
      for (const Step& step : steps) place.made_steps.push_back({step.layer, step.path, step.inputs, step.epilogue, step.outputs});
    }
    for (const int step : place.gone) take_away(place, step);
    std::vector<int> made;
    for (Step& step : steps) made.push_back(add_node(std::move(step), turns, false));
    todo_.insert(todo_.end(), made.rbegin(), made.rend());
  }

  void take_away(Place& place, int step) {
    Node& gone = node(step);
    gone.gone = true;
    for (const int value : gone.step.inputs) --values_[at(value)].uses;
    for (const int value : gone.step.outputs) values_[at(value)].maker = -1;
    if (trail_ != nullptr) place.gone_steps.push_back(std::move(gone.step));
  }

  // The steps that go, checked: all lie before the shown one, and nobody else wants what they make.
  void find_gone(Place& place) const {
    for (const StepView& view : place.replacement.absorbed) {
      const int step = view.step();
      const bool known = view.plan() == this && step >= 0 && at(step) < nodes_.size();
      require(known && !node(step).gone, place, "absorbs a step that is not in the plan");
      require(node(step).settled && step != place.shown, place, "absorbs '", path(step), "', which does not come before it");
      place.gone.push_back(step);
    }
    place.gone.push_back(place.shown);
    std::sort(place.gone.begin(), place.gone.end(), [&](int a, int b) { return node(a).position < node(b).position; });
    const auto twice = std::adjacent_find(place.gone.begin(), place.gone.end());
    require(twice == place.gone.end(), place, "absorbs a step twice");
    std::vector<int> taken;
    for (const int step : place.gone) taken.insert(taken.end(), inputs(step).begin(), inputs(step).end());
    std::sort(taken.begin(), taken.end());
    for (const int step : place.gone) {
      if (step == place.shown) continue;
      for (const int value : outputs(step)) {
        const auto [first, last] = std::equal_range(taken.begin(), taken.end(), value);
        const bool alone = uses(value) == static_cast<std::size_t>(last - first);
        require(!is_output(value), place, "absorbs '", path(step), "', which the model outputs");
        require(alone, place, "absorbs '", path(step), "', which others need");
      }
    }
  }

  bool goes(const Place& place, int step) const {
    return std::binary_search(place.gone.begin(), place.gone.end(), step,
                              [&](int a, int b) { return node(a).position < node(b).position; });
  }

  std::vector<Step> make_steps(const Place& place) {
    const std::vector<NewStep>& wanted = place.replacement.steps;
    require(!wanted.empty(), place, "gives no step in its place");
    std::vector<Step> steps;
    std::vector<char> used(wanted.size(), 0);
    const std::size_t known_values = plan_.values.size();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      Step step;
      step.layer = wanted[i].layer;
      step.epilogue = wanted[i].epilogue;
      require(step.layer != nullptr, place, "step ", i, " of what it gives has no layer");
      for (const ValueRef& ref : wanted[i].inputs) step.inputs.push_back(resolve(place, ref, steps, known_values, used));
      const std::vector<TensorSpec> made = infer(place, step);
      if (i + 1 == wanted.size()) {
        step.outputs = node(place.shown).step.outputs;
        check_result(place, step, made);
      } else {
        for (const TensorSpec& spec : made) {
          step.outputs.push_back(static_cast<int>(plan_.values.size()));
          plan_.values.push_back({{spec.shape, spec.dtype, Format::nchw}, {}, -1});
          values_.emplace_back();
        }
      }
      steps.push_back(std::move(step));
    }
    for (std::size_t i = 0; i + 1 < wanted.size(); ++i) {
      require(used[i] != 0, place, "nobody takes what its step ", i, ", ", steps[i].layer->type_name(), ", makes");
    }
    return steps;
  }

  void check_result(const Place& place, const Step& last, const std::vector<TensorSpec>& made) const {
    require(made.size() == last.outputs.size(), place, "gives ", last.layer->type_name(), " that makes ", made.size(),
            " values in place of ", last.outputs.size());
    for (std::size_t k = 0; k < made.size(); ++k) {
      const TensorSpec& wants = spec(last.outputs[k]);
      require(made[k].shape == wants.shape && made[k].dtype == wants.dtype, place, "gives ", last.layer->type_name(), " that makes ",
              made[k].shape, " ", made[k].dtype, " in place of ", wants.shape, " ", wants.dtype);
    }
  }

  // The plan's number of a value that the new step behind `steps` takes.
  int resolve(const Place& place, const ValueRef& ref, const std::vector<Step>& steps, std::size_t known_values,
              std::vector<char>& used) const {
    const std::size_t i = steps.size();
    require((ref.value < 0) != (ref.step < 0), place, "step ", i, " of what it gives takes no value, or two at once");
    if (ref.step >= 0) {
      require(at(ref.step) < i, place, "step ", i, " of what it gives takes what step ", ref.step, " makes, which does not come before it");
      const std::vector<int>& made = steps[at(ref.step)].outputs;
      require(ref.output >= 0 && at(ref.output) < made.size(), place, "step ", i, " of what it gives takes output ", ref.output,
              " of step ", ref.step, ", which has ", made.size());
      used[at(ref.step)] = 1;
      return made[at(ref.output)];
    }
    const bool known = at(ref.value) < known_values;
    const int from = known ? maker(ref.value) : -1;
    const bool made = from >= 0 ? node(from).settled && !goes(place, from) : known && values_[at(ref.value)].is_input;
    require(made, place, "step ", i, " of what it gives takes a value that nobody makes before it");
    return ref.value;
  }

  // What the step makes, with its cost filled in.
  std::vector<TensorSpec> infer(const Place& place, Step& step) const {
    std::vector<TensorSpec> specs;
    for (const int value : step.inputs) {
      specs.push_back(spec(value));
      specs.back().format = Format::nchw;  // layers see shapes; formats are the format pass's business
    }
    std::size_t operands = 0;
    for (const FusedOp& fused : step.epilogue) {
      require(fused.layer != nullptr, place, "gives ", step.layer->type_name(), " an epilogue without a layer");
      operands += fused.op.kind == EpilogueOp::Kind::activation ? 0 : 1;
    }
    require(operands <= specs.size(), place, "gives ", step.layer->type_name(), " fewer values than its epilogue takes");
    const std::span<const TensorSpec> own(specs.data(), specs.size() - operands);
    const auto checked = [&](const auto& body) { return guarded(place.rewrite, place.shown, body); };
    const Inferred inferred = checked([&] { return step.layer->infer(own); });
    step.flops = inferred.flops;
    step.bytes = inferred.bytes;
    const std::size_t absorbs = checked([&] { return step.layer->absorbs(own, step.ops()); });
    require(!inferred.out.empty(), place, "gives ", step.layer->type_name(), " that makes nothing");
    require(step.epilogue.empty() || inferred.out.size() == 1, place, "gives ", step.layer->type_name(), ", which makes ",
            inferred.out.size(), " values, an epilogue");
    require(absorbs >= step.epilogue.size(), place, "gives ", step.layer->type_name(), " an epilogue that it does not absorb");
    std::size_t operand = own.size();
    for (const FusedOp& fused : step.epilogue) {
      std::vector<TensorSpec> pair{{inferred.out[0].shape, inferred.out[0].dtype}};
      if (fused.op.kind != EpilogueOp::Kind::activation) {
        step.bytes += static_cast<double>(specs[operand].bytes());
        pair.push_back(specs[operand++]);
      }
      const std::optional<EpilogueOp> op = checked([&] { return fused.layer->as_epilogue(pair); });
      require(op == fused.op, place, "gives ", step.layer->type_name(), " an epilogue that ", fused.layer->type_name(), " is not");
      step.flops += checked([&] { return fused.layer->infer(pair); }).flops;
    }
    return inferred.out;
  }

  // The longer list stays where it is, so that all that a long chain gathers costs n log n.
  static void append(std::vector<std::string>& to, std::vector<std::string>&& more) {
    if (more.size() > to.size()) std::swap(to, more);
    to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  // Which paths mean the result from now on, and which mean nothing any more. Takes the lists of the steps that go.
  void name_steps(const Place& place, std::vector<Step>& steps) {
    const Replacement& replacement = place.replacement;
    const auto absorbed = static_cast<int>(replacement.absorbed.size());
    require(replacement.named_after >= -1 && replacement.named_after < absorbed, place, "is named after absorbed step ",
            replacement.named_after, " of ", absorbed);
    const int named = replacement.named_after < 0 ? place.shown : replacement.absorbed[at(replacement.named_after)].step();
    Step& last = steps.back();
    last.path = path(named);
    const auto stays = [&](const std::string& path) {
      return std::any_of(last.epilogue.begin(), last.epilogue.end(), [&](const FusedOp& fused) { return fused.path == path; });
    };
    for (const int id : place.gone) {
      Step& from = node(id).step;
      const bool names_result = id == named || id == place.shown;
      std::vector<std::string>& to = names_result ? last.merged : last.replaced;
      append(last.replaced, std::move(from.replaced));
      if (id != named) to.push_back(from.path);
      append(to, std::move(from.merged));
      for (const FusedOp& fused : from.epilogue) {
        if (!names_result || !stays(fused.path)) to.push_back(fused.path);
      }
    }
    for (std::size_t i = 0; i + 1 < steps.size(); ++i) {
      steps[i].path = concat_text(last.path, ":", steps[i].layer->type_name());
      const std::vector<int>& made = steps[i].outputs;
      for (std::size_t k = 0; k < made.size(); ++k) plan_.values[at(made[k])].name = output_name(steps[i].path, k, made.size());
    }
  }

  void count_applied() {
    for (std::size_t i = 0; i < rewrites_.size(); ++i) {
      if (times_[i] == 0) continue;
      const auto known = std::find_if(plan_.rewrites.begin(), plan_.rewrites.end(),
                                      [&](const AppliedRewrite& applied) { return applied.name == rewrites_[i].name; });
      if (known != plan_.rewrites.end()) {
        known->times += times_[i];
      } else {
        plan_.rewrites.push_back({rewrites_[i].name, times_[i]});
      }
    }
  }

  Plan plan_;
  const std::vector<Rewrite>& rewrites_;
  RewriteStage stage_;
  RewriteTrail* trail_;
  std::vector<int> times_;  // by rewrite
  std::vector<Node> nodes_;
  std::vector<ValueState> values_;
  std::vector<int> order_, todo_;
};

}  // namespace

Plan rewrite(Plan plan, const std::vector<Rewrite>& rewrites, RewriteStage stage, RewriteTrail* trail) {
  const bool any = std::any_of(rewrites.begin(), rewrites.end(), [&](const Rewrite& r) { return r.stage == stage; });
  if (!any && trail == nullptr) return plan;
  return Rewriter(std::move(plan), rewrites, stage, trail).run();
}

}  // namespace frieze

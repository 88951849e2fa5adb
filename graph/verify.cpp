#include <frieze/graph/verify.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>
#include <frieze/graph/executor.h>
#include <frieze/graph/memory_growth.h>
#include <frieze/graph/other_shape.h>
#include <frieze/graph/random_inputs.h>
#include <frieze/graph/reference_step.h>
#include <frieze/graph/repeat.h>
#include <frieze/graph/taps.h>

namespace frieze {
namespace {

void set_inputs(Session& session, const std::vector<HostTensor>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) session.input(session.plan().inputs[i].name).copy_from(inputs[i]);
}

// FNV-1a, eight bytes at a time: an accidental match of two different tensors has odds of 2^-64.
std::uint64_t checksum(const HostTensor& tensor) {
  const auto* bytes = static_cast<const std::byte*>(tensor.data());
  std::uint64_t sum = 0xCBF29CE484222325ULL;
  for (std::size_t i = 0; i < tensor.bytes(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, std::min<std::size_t>(8, tensor.bytes() - i));
    sum = (sum ^ word) * 0x100000001B3ULL;
    sum ^= sum >> 29;  // or the high bytes of a word would never reach the low bits
  }
  return sum;
}

using Checksums = std::vector<std::pair<int, std::uint64_t>>;  // plan value, checksum

std::vector<int> made_values(const Plan& plan) {
  std::vector<int> ids;
  for (const TapPoint& point : tap_points(plan)) {
    if (point.loop < 0) ids.push_back(point.value);
  }
  return ids;
}

std::vector<int> output_values(const Plan& plan) {
  std::vector<int> ids;
  for (const PlanPort& port : plan.outputs) ids.push_back(port.value);
  return ids;
}

Checksums checksums(const Session& session, const std::vector<int>& values) {
  Checksums sums;
  for (const int id : values) sums.emplace_back(id, checksum(session.value(id)));
  return sums;
}

// Poisons first, so that nothing that an earlier run left behind can pass for a result.
Checksums replay(Session& session, const std::vector<int>& values) {
  session.poison();
  session.run();
  return checksums(session, values);
}

Checksums eager(Session& session, const std::vector<int>& values) {
  session.poison();
  session.run_eager();
  return checksums(session, values);
}

// The plan without views, fusion and formats: each view is a copy and each absorbed operation is a step again, rounded to the run's type
// like any other, and all but the ports lie in nchw. Values keep their numbers; those that fusion removed get new ones.
Plan as_traced(const Plan& viewed) {
  const Plan plan = without_views(viewed);
  Plan out = plan;
  out.steps.clear();
  std::vector<char> port(plan.values.size(), 0);
  for (const PlanPort& p : plan.inputs) port[static_cast<std::size_t>(p.value)] = 1;
  for (const PlanPort& p : plan.outputs) port[static_cast<std::size_t>(p.value)] = 1;
  for (std::size_t id = 0; id < plan.values.size(); ++id) {
    if (port[id] == 0) out.values[id].spec.format = Format::nchw;
  }
  for (const Step& step : plan.steps) {
    std::size_t operand = step.layer_inputs();
    Step next = step;
    next.epilogue.clear();
    next.inputs.resize(operand);
    next.format = Format::nchw;
    for (const FusedOp& fused : step.epilogue) {
      const TensorSpec& spec = plan.spec(step.output());
      const int before = static_cast<int>(out.values.size());
      out.values.push_back({{spec.shape, spec.dtype, Format::nchw}, next.path, static_cast<int>(out.steps.size())});
      next.outputs = {before};
      out.steps.push_back(std::move(next));
      next = Step{fused.layer, fused.path, {before}, {}, {}, Format::nchw, 0, 0};
      if (fused.op.kind != EpilogueOp::Kind::activation) next.inputs.push_back(step.inputs[operand++]);
    }
    next.outputs = step.outputs;
    for (const int id : step.outputs) out.values[static_cast<std::size_t>(id)].producer = static_cast<int>(out.steps.size());
    out.steps.push_back(std::move(next));
  }
  out.validate();
  return out;
}

std::string layer_text(const Step& step) {
  const std::string options = step.layer->describe();
  return std::string(step.layer->type_name()) + (options.empty() ? "" : " " + options) + step.label().substr(step.path.size());
}

class Verifier {
 public:
  Verifier(const Session& net, const VerifyOptions& options)
      : net_(net), plan_(net.plan()), inputs_(random_inputs(plan_, options.seed)), changed_(random_inputs(plan_, options.seed + 1)) {
    report_.device = net.device().name();
    const std::vector<ReceiptStep>& steps = net.receipt().steps;
    report_.compared_steps =
        std::count_if(steps.begin(), steps.end(), [](const ReceiptStep& step) { return step.algorithm != kReferenceAlgorithm; });
    report_.tf32 = net.device().is_cuda() && net.options().allow_tf32;
    replays_ = options.replays >= 0 ? options.replays : net.device().is_cuda() ? 50 : 0;
    given_ = options.inputs.empty() ? &inputs_ : &options.inputs;
    check<OptionError>(given_->size() == plan_.inputs.size(), "verify: the model has ", plan_.inputs.size(), " inputs, got ",
                       given_->size());
  }

  VerifyReport run() {
    CompileOptions keep = net_.options();
    keep.keep_values = true;
    const Checksums values = [&] {
      Session session = compile(plan_, net_.device(), keep);
      compare_runs(session);
      algorithms_ = algorithms(session.receipt());
      return checksums(session, made_values(plan_));
    }();  // its memory is free again before the next session is made
    Session session = compile(plan_, net_.device(), net_.options());
    if (!net_.options().keep_values) compare_reuse(session, values);
    soak(session, replays_);
    interleave();
    return std::move(report_);
  }

 private:
  void compare_runs(Session& session) {
    const std::vector<int> values = made_values(plan_);
    set_inputs(session, *given_);
    const Checksums first = replay(session, values);
    compare_layers(session);
    report_.second_replay_equal = same(first, replay(session, values), "second replay");
    report_.replay_equals_eager = same(first, eager(session, values), "eager run");
    set_inputs(session, changed_);
    const Checksums changed = replay(session, values);
    report_.changed_inputs_equal = same(changed, eager(session, values), "changed inputs");
    set_inputs(session, *given_);
    report_.restored_inputs_equal = same(first, replay(session, values), "first inputs again");
  }

  void compare_layers(const Session& session) {
    CompileOptions keep;
    keep.keep_values = true;
    Session whole = compile(session.device().is_reference() ? as_traced(plan_) : plan_, Device::reference(), keep);
    set_inputs(whole, *given_);
    whole.poison();
    whole.run();
    for (const PlanPort& port : plan_.inputs) {
      const std::vector<float> values = session.value(port.value).floats();
      report_.inputs_non_finite += std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    }
    std::vector<const Step*> compared;  // views too: what they look at must be what their layers would make
    for (const TapPoint& point : tap_points(plan_)) {
      if (point.loop < 0 && (compared.empty() || compared.back() != point.step)) compared.push_back(point.step);
    }
    for (const Step* step : compared) {
      if (const Repeat* const loop = loop_of(*step); loop != nullptr && session.device().is_cuda()) {
        compare_loop(session, whole, static_cast<int>(step - plan_.steps.data()), *loop);
      } else {
        compare_step(
            plan_, *step, [&](int id) { return session.value(id); }, [&](int id) { return whole.value(id); }, {});
      }
    }
    for (const PlanPort& port : plan_.outputs) {
      const auto found = drift_.find(port.value);
      if (found != drift_.end()) report_.output_nmse = std::max(report_.output_nmse, found->second);
    }
  }

  // Every output of a step; the reference runs once for all.
  // `value`: one as the graph computed it; `drifted_value`: as a whole run of the reference did, nullptr if there is none.
  using Read = std::function<HostTensor(int)>;
  void compare_step(const Plan& plan, const Step& step, const Read& value, const Read& drifted_value, const std::string& suffix) {
    std::vector<HostTensor> inputs, expected;
    std::vector<TensorView> in, out;
    for (const int id : step.inputs) {
      // Row-major, so that a layer that mistakes one format for another does not make the same mistake twice.
      inputs.push_back(value(id).converted(plan.spec(id).dtype, Format::nchw));
      in.push_back(inputs.back().view());
    }
    for (const int id : step.outputs) {
      const DType dtype = plan.spec(id).dtype;
      expected.emplace_back(TensorSpec{plan.spec(id).shape, is_integer(dtype) ? dtype : DType::f32, Format::nchw});
      std::memset(expected.back().data(), 0, expected.back().bytes());  // unlike the poison: what nobody writes must not look equal
      out.push_back(expected.back().view());
    }
    const double scale = reference_step(step, in, out, run_dtype(plan, step));
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const int id = step.outputs[k];
      VerifyLayer layer{output_name(step.path, k, step.outputs.size()) + suffix, layer_text(step), plan.spec(id), {}, {}};
      const HostTensor made = value(id);
      const std::vector<float> got = made.floats();
      ErrorBudget budget = step_budget(plan, step);
      if (report_.tf32 && layer.spec.dtype == DType::f32) budget = widened_for_tf32(budget);
      const bool integers = is_integer(layer.spec.dtype);
      layer.isolated = integers ? difference(made.integers(), expected[k].integers())
                                : difference(got, expected[k].floats(), layer.spec.dtype, budget, scale);
      if (drifted_value) add_drift(layer, made, drifted_value(id), id);
      add(std::move(layer), got, output_name(step.label(), k, step.outputs.size()) + suffix);
    }
  }

  void add_drift(VerifyLayer& layer, const HostTensor& made, const HostTensor& drifted, int id) {
    layer.accumulated = is_integer(layer.spec.dtype) ? difference(made.integers(), drifted.integers())
                                                     : difference(made.floats(), drifted.floats(), layer.spec.dtype, {});
    layer.drift_nmse = drift_[id] = layer.accumulated.nmse;
  }

  void add(VerifyLayer layer, const std::vector<float>& got, const std::string& label) {
    for (const float v : got) {
      layer.nan += std::isnan(v) ? 1 : 0;
      layer.inf += std::isinf(v) ? 1 : 0;
    }
    if (report_.first_non_finite.empty() && layer.nan + layer.inf > 0) report_.first_non_finite = label;
    if (report_.first_divergent.empty() && !layer.ok()) report_.first_divergent = layer.path;
    report_.worst_share = std::max(report_.worst_share, layer.isolated.share);
    report_.layers.push_back(std::move(layer));
  }

  // A loop's errors may grow from iteration to iteration as its body wants. So the steps of its last iteration are compared, each given
  // what the graph gave it, and the loop must give that iteration's values. That the iterations before are right too, the bits of the eager
  // run say, which knows no loop nodes.
  void compare_loop(const Session& session, const Session& whole, int at, const Repeat& loop) {
    const Step& step = plan_.steps[static_cast<std::size_t>(at)];
    const auto value = [&](int id) { return session.executor().read_loop_value(at, id); };
    const std::string suffix = concat_text("@", loop.iterations() - 1);
    for (const Step& inner : loop.body().steps) compare_step(loop.body(), inner, value, nullptr, suffix);
    for (std::size_t k = 0; k < step.outputs.size(); ++k) {
      const int id = step.outputs[k];
      VerifyLayer layer{output_name(step.path, k, step.outputs.size()), layer_text(step), plan_.spec(id), {}, {}};
      const HostTensor made = session.value(id);
      const std::vector<float> got = made.floats(), last = value(loop.body().outputs[k].value).floats();
      layer.isolated = difference(got, last, layer.spec.dtype, {.roundings = 0, .terms = 0});
      add_drift(layer, made, whole.value(id), id);
      add(std::move(layer), got, output_name(step.label(), k, step.outputs.size()));
    }
  }

  // As `net` is compiled: the arena hands the same bytes to one value after the other, and taps show each before it is gone.
  // Tuning may pick other algorithms this time; then the bits may differ for that reason alone, and nothing is compared.
  void compare_reuse(Session& session, const Checksums& values) {
    if (algorithms(session.receipt()) != algorithms_) return;
    try {
      session.tap();
    } catch (const CaptureError& e) {  // a kernel that enqueues something else the second time it is captured
      report_.reused_memory_equal = false;
      if (report_.first_unequal.empty()) report_.first_unequal = e.what();
      return;
    }
    set_inputs(session, *given_);
    session.poison();
    session.run();
    Checksums seen;
    for (const TapPoint& point : tap_points(plan_)) {
      if (point.loop < 0) seen.emplace_back(point.value, checksum(session.tapped(point.name)));
    }
    session.untap();
    report_.reused_memory_equal = same(values, seen, "reused memory");
    report_.reused_memory_equal &= same(outputs_of(values), replay(session, output_values(plan_)), "reused memory, untapped");
  }

  Checksums outputs_of(const Checksums& values) const {
    const std::map<int, std::uint64_t> made(values.begin(), values.end());
    Checksums out;
    for (const int id : output_values(plan_)) {
      if (const auto found = made.find(id); found != made.end()) out.push_back(*found);
    }
    return out;
  }

  void soak(Session& session, int replays) {
    if (replays == 0) return;
    const std::vector<int> outputs = output_values(plan_);
    const std::vector<HostTensor>* inputs[] = {given_, &changed_};
    Checksums expected[2];
    for (int i = 0; i < 2; ++i) {
      set_inputs(session, *inputs[i]);
      expected[i] = replay(session, outputs);
    }
    const Device device = net_.device();
    const Backend& backend = device.backend();
    const auto run_all = [&] {
      for (report_.replays = 0; report_.replays < replays && report_.replays_equal; ++report_.replays) {
        const int i = report_.replays % 2;
        set_inputs(session, *inputs[i]);
        report_.replays_equal = same(expected[i], replay(session, outputs), "soak");
      }
      return report_.replays_equal;
    };
    report_.grown_bytes = memory_growth([&] { return backend.used_memory(); }, run_all);
  }

  // Two executors on one arena, as an engine has them. Each one's first answer, before the other ran, is what it must repeat.
  void interleave() {
    const std::optional<Plan> more = with_one_image_more(plan_);
    report_.interleaved = more.has_value();
    const Device device = net_.device();
    const Backend& backend = device.backend();
    const std::shared_ptr<Arena> arena = backend.make_arena();
    struct Party {
      std::unique_ptr<Executor> executor;
      std::vector<HostTensor> inputs;
      Checksums alone;
      Checksums run() {
        for (std::size_t i = 0; i < inputs.size(); ++i) executor->write_port(executor->plan().inputs[i].value, inputs[i]);
        executor->poison();
        executor->run();
        Checksums sums;
        for (const int id : output_values(executor->plan())) sums.emplace_back(id, checksum(executor->read_value(id)));
        return sums;
      }
    };
    Party parties[2];
    for (const bool other : {false, true}) {
      Party& party = parties[other ? 1 : 0];
      const Plan& plan = other && more ? *more : plan_;
      party.executor = backend.make_executor(plan, net_.options(), arena);
      party.inputs = random_inputs(plan, other ? 11 : 7);
      party.alone = party.run();
    }
    for (int round = 0; round < (net_.device().is_cuda() ? 2 : 1); ++round) {
      for (Party& party : parties) report_.interleaved_equal &= same(party.alone, party.run(), "interleaved with another batch");
    }
  }

  static std::vector<std::string> algorithms(const Receipt& receipt) {
    std::vector<std::string> names;
    for (const ReceiptStep& step : receipt.steps) names.push_back(step.algorithm);
    return names;
  }

  bool same(const Checksums& a, const Checksums& b, const char* what) {
    const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    if (at == a.end()) return true;
    if (report_.first_unequal.empty()) {
      report_.first_unequal = plan_.values[static_cast<std::size_t>(at->first)].name + " (" + what + ")";
    }
    return false;
  }

  const Session& net_;
  const Plan& plan_;
  std::vector<HostTensor> inputs_, changed_;
  const std::vector<HostTensor>* given_ = nullptr;
  std::vector<std::string> algorithms_;
  std::map<int, double> drift_;  // of each value that a step makes
  int replays_ = 0;
  VerifyReport report_;
};

}  // namespace

bool VerifyReport::ok() const {
  return replay_equals_eager && second_replay_equal && changed_inputs_equal && restored_inputs_equal && reused_memory_equal &&
         interleaved_equal && replays_equal && grown_bytes <= 0 && (first_non_finite.empty() || inputs_non_finite > 0) &&
         std::all_of(rewrites.begin(), rewrites.end(), [](const VerifyRewrite& rewrite) { return rewrite.ok(); }) &&
         std::all_of(layers.begin(), layers.end(), [](const VerifyLayer& layer) { return layer.ok(); });
}

VerifyReport verify(const Session& net, const VerifyOptions& options) {
  const WarningScope warnings(&net.options().on_warning);
  return Verifier(net, options).run();
}

}  // namespace frieze

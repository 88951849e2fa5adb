#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <unordered_map>

#include <frieze/core/error.h>
#include <frieze/core/random.h>
#include <frieze/graph/passes/passes.h>
#include <frieze/graph/random_inputs.h>
#include <frieze/graph/reference_step.h>
#include <frieze/graph/repeat.h>
#include <frieze/graph/verify.h>

namespace frieze {
namespace {

using Values = std::unordered_map<int, HostTensor>;
using Steps = std::vector<Step>;

double largest(const std::vector<float>& values) {
  float most = 0;
  for (const float v : values) {
    if (std::isfinite(v)) most = std::max(most, std::abs(v));
  }
  return most;
}

// Values are proven in f32, whatever the run's type; integers are what they are.
DType exact_type(DType t) { return is_integer(t) ? t : DType::f32; }

// The same signs each time.
float random_sign(std::size_t i) { return SplitMix64{i}() >> 63 == 0 ? 1.0F : -1.0F; }

// The places of one stage, one after the other, over the values that the reference of the plan before the stage makes.
class Prover {
 public:
  Prover(const Plan& before, const RewriteTrail& trail, const std::vector<HostTensor>& inputs) : before_(before), trail_(trail) {
    for (const RewrittenPlace& place : trail.places) {
      for (const int value : taken_from_outside(place)) ++wanted_[value];
    }
    for (std::size_t i = 0; i < before.inputs.size(); ++i) {
      values_[before.inputs[i].value] = inputs[i].converted(exact_type(inputs[i].spec().dtype), Format::nchw);
    }
    for (const PlanConstant& c : before.constants) {
      values_[c.value] = constant_tensor(before, c).converted(exact_type(before.spec(c.value).dtype), Format::nchw);
    }
    run_before();
  }

  // Calls report(place, difference) for each value that a place makes.
  void prove(const std::function<void(const RewrittenPlace&, const Difference&)>& report) {
    for (const RewrittenPlace& place : trail_.places) {
      Side gone(*this, place.gone), made(*this, place.made);
      const std::vector<double> before = gone.errors(), after = made.errors();
      for (std::size_t k = 0; k < before.size(); ++k) {
        const HostTensor &expected = gone.result(k), &got = made.result(k);
        const double allowed = (before[k] + after[k]) / unit_roundoff(DType::f32);
        report(place, is_integer(expected.spec().dtype) ? difference(got.integers(), expected.integers())
                                                        : difference(got.floats(), expected.floats(), DType::f32, {0, 1}, allowed));
      }
      made.keep_wanted();
      for (const int value : taken_from_outside(place)) drop_one(value, wanted_);
    }
  }

 private:
  // The steps of one side, run from the values around them.
  class Side {
   public:
    Side(Prover& prover, const Steps& steps) : prover_(prover), steps_(steps) {
      for (const Step& step : steps) sizes_.push_back(prover.run(step, own_));
    }
    const HostTensor& result(std::size_t k) const { return own_.at(steps_.back().outputs[k]); }

    // How far each result may be from real arithmetic. The reference sums in double: what a step adds is the rounding of its value, and of
    // parameters that were made in double, at most 4 u of the size of what it sums, once more for each absorbed operation. Four times what
    // a change by that, of random sign, does to the result.
    std::vector<double> errors() {
      std::vector<double> sums(steps_.back().outputs.size(), 0);
      for (std::size_t i = 0; i < steps_.size(); ++i) {
        const bool last = i + 1 == steps_.size();
        const std::vector<double> more = last ? std::vector<double>() : changes(i);
        for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += last ? error(i, steps_[i].outputs[k]) : 4 * more[k];
      }
      return sums;
    }

    void keep_wanted() {
      for (std::size_t i = 0; i + 1 < steps_.size(); ++i) {
        for (const int value : steps_[i].outputs) {
          if (prover_.wanted_.contains(value)) prover_.values_.insert(own_.extract(value));
        }
      }
    }

   private:
    // What step `i` itself adds to a value that it makes.
    double error(std::size_t i, int value) const {
      const double operations = 1 + static_cast<double>(steps_[i].epilogue.size());
      return 4 * operations * unit_roundoff(DType::f32) * std::max(sizes_[i], largest(own_.at(value).floats()));
    }

    // By how much each result changes at most if the values of step `i` change by its error.
    std::vector<double> changes(std::size_t i) const {
      Values changed;
      for (std::size_t k = 0; k <= i; ++k) {
        for (const int value : steps_[k].outputs) {
          const HostTensor& exact = own_.at(value);
          HostTensor copy = exact.converted(exact.spec().dtype, Format::nchw);
          if (k == i && !is_integer(exact.spec().dtype)) {
            std::vector<float> values = exact.floats();
            const auto size = static_cast<float>(error(i, value));
            for (std::size_t n = 0; n < values.size(); ++n) values[n] += size * random_sign(n);
            copy = HostTensor(exact.spec(), values);
          }
          changed.emplace(value, std::move(copy));
        }
      }
      for (std::size_t k = i + 1; k < steps_.size(); ++k) prover_.run(steps_[k], changed);
      std::vector<double> most;
      for (const int value : steps_.back().outputs) most.push_back(largest_change(changed.at(value).floats(), own_.at(value).floats()));
      return most;
    }

    static double largest_change(const std::vector<float>& moved, const std::vector<float>& exact) {
      double most = 0;
      for (std::size_t n = 0; n < moved.size(); ++n) {
        const double d = std::abs(static_cast<double>(moved[n]) - static_cast<double>(exact[n]));
        if (std::isfinite(d)) most = std::max(most, d);
      }
      return most;
    }

    Prover& prover_;
    const Steps& steps_;
    Values own_;
    std::vector<double> sizes_;  // by step, what its errors are measured against beside its value
  };

  static std::vector<int> taken_from_outside(const RewrittenPlace& place) {
    std::vector<int> taken;
    for (const Steps* steps : {&place.gone, &place.made}) {
      std::vector<int> inside;
      for (const Step& step : *steps) {
        for (const int value : step.inputs) {
          if (std::find(inside.begin(), inside.end(), value) == inside.end()) taken.push_back(value);
        }
        inside.insert(inside.end(), step.outputs.begin(), step.outputs.end());
      }
    }
    std::sort(taken.begin(), taken.end());
    taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
    return taken;
  }

  // Runs a step on `own` values and those around; returns what reference_step does.
  double run(const Step& step, Values& own) const {
    std::vector<TensorView> in, views;
    for (const int id : step.inputs) {
      const auto found = own.find(id);
      in.push_back(found != own.end() ? found->second.view() : values_.at(id).view());
    }
    std::vector<HostTensor> out;
    for (const int id : step.outputs) {
      const TensorSpec& spec = trail_.values[static_cast<std::size_t>(id)].spec;
      out.emplace_back(TensorSpec{spec.shape, exact_type(spec.dtype), Format::nchw});
      std::memset(out.back().data(), 0, out.back().bytes());
      views.push_back(out.back().view());
    }
    const double size = reference_step(step, in, views, DType::f32);
    for (std::size_t k = 0; k < out.size(); ++k) own.insert_or_assign(step.outputs[k], std::move(out[k]));
    return size;
  }

  // Makes the values that places take, and no others; each is freed after its last use.
  void run_before() {
    std::unordered_map<int, int> uses = wanted_;
    std::vector<char> needed(before_.steps.size(), 0);
    for (std::size_t i = before_.steps.size(); i-- > 0;) {
      const Step& step = before_.steps[i];
      needed[i] = std::any_of(step.outputs.begin(), step.outputs.end(), [&](int id) { return uses.contains(id); }) ? 1 : 0;
      for (const int value : step.inputs) {
        if (needed[i] != 0) ++uses[value];
      }
    }
    for (std::size_t i = 0; i < before_.steps.size(); ++i) {
      if (needed[i] == 0) continue;
      run(before_.steps[i], values_);
      for (const int value : before_.steps[i].outputs) {
        if (!uses.contains(value)) values_.erase(value);
      }
      for (const int value : before_.steps[i].inputs) drop_one(value, uses);
    }
  }

  void drop_one(int value, std::unordered_map<int, int>& uses) {
    if (--uses[value] > 0) return;
    uses.erase(value);
    values_.erase(value);
  }

  const Plan& before_;
  const RewriteTrail& trail_;
  std::unordered_map<int, int> wanted_;  // by value: how many places take it
  Values values_;
};

}  // namespace

std::vector<VerifyRewrite> verify_rewrites(const Plan& traced, const PassOptions& passes, const VerifyOptions& options) {
  traced.check_runnable();
  const std::vector<Rewrite> rewrites = chosen_rewrites(passes);
  const std::vector<HostTensor> inputs = [&] {
    if (options.inputs.empty()) return random_inputs(traced, options.seed);
    check<OptionError>(options.inputs.size() == traced.inputs.size(), "verify: the model has ", traced.inputs.size(), " inputs, got ",
                       options.inputs.size());
    std::vector<HostTensor> given;
    for (std::size_t i = 0; i < options.inputs.size(); ++i) {
      const TensorSpec &spec = traced.spec(traced.inputs[i].value), &got = options.inputs[i].spec();
      check<ShapeError>(got.shape == spec.shape, "input '", traced.inputs[i].name, "': expected shape ", spec.shape, ", got ", got.shape);
      given.push_back(options.inputs[i].converted(spec.dtype, spec.format));
    }
    return given;
  }();
  std::vector<VerifyRewrite> found;
  for (const Rewrite& rewrite : rewrites) found.push_back({rewrite.name, 0, {}, {}});
  const auto entry = [&](const RewrittenPlace& place) -> VerifyRewrite& {
    return *std::find_if(found.begin(), found.end(), [&](const VerifyRewrite& known) { return known.name == place.rewrite; });
  };
  const auto note = [&](const RewrittenPlace& place, const Difference& d) {
    VerifyRewrite& r = entry(place);
    if (r.path.empty() || d.share > r.worst.share) r.path = place.made.back().path, r.worst = d;
  };
  const std::function<void(Plan, const std::vector<HostTensor>&)> prove = [&](Plan plan, const std::vector<HostTensor>& values) {
    for (const RewriteStage stage : {RewriteStage::before_fusion, RewriteStage::after_fusion}) {
      RewriteTrail trail;
      Plan next = rewrite(plan, rewrites, stage, &trail);
      for (const RewrittenPlace& place : trail.places) ++entry(place).times;
      Prover(plan, trail, values).prove(note);
      plan = stage == RewriteStage::before_fusion && passes.fuse ? fuse(std::move(next)) : std::move(next);
    }
    for (const Step& step : plan.steps) {
      if (const Repeat* const loop = loop_of(step)) prove(loop->body(), random_inputs(loop->body(), options.seed));
    }
  };
  prove(traced, inputs);
  std::erase_if(found, [](const VerifyRewrite& r) { return r.times == 0; });
  return found;
}

}  // namespace frieze

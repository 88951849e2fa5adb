#include <frieze/graph/finite.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <frieze/graph/executor.h>

namespace frieze {
namespace {

struct Count {
  std::int64_t nan = 0, inf = 0;
  std::int64_t all() const { return nan + inf; }
};

Count count(std::span<const float> values) {
  Count found;
  for (const float v : values) {
    found.nan += std::isnan(v) ? 1 : 0;
    found.inf += std::isinf(v) ? 1 : 0;
  }
  return found;
}

std::string text_of(const Count& count, std::size_t of) {
  return concat_text(count.nan, " NaN and ", count.inf, " Inf among ", of, " values");
}

// The taps that a session has, while others are set; restored whatever happens in between.
class OtherTaps {
 public:
  explicit OtherTaps(Session& net) : net_(net), names_(net.tapped_names()) { net_.untap(); }
  ~OtherTaps() {
    try {
      net_.untap();
      for (const std::string& name : names_) (void)net_.tap(name);
    } catch (const Error&) {  // the error on its way says more
    }
  }
  OtherTaps(const OtherTaps&) = delete;
  OtherTaps& operator=(const OtherTaps&) = delete;

 private:
  Session& net_;
  std::vector<std::string> names_;
};

std::string first_step(Session& net) {
  constexpr std::int64_t kAtOnce = std::int64_t{256} << 20;
  const Plan& plan = net.plan();
  const OtherTaps saved(net);
  for (std::size_t first = 0; first < plan.steps.size();) {
    std::vector<TapTarget> group;
    std::int64_t bytes = 0;
    std::size_t end = first;
    for (; end < plan.steps.size() && (group.empty() || bytes < kAtOnce); ++end) {
      for (const int value : plan.steps[end].outputs) {
        bytes += plan.spec(value).bytes();
        group.push_back({.value = value});
      }
    }
    net.executor().tap(group);
    net.run();
    for (const TapTarget& target : group) {
      const int value = target.value;
      const Step& step = plan.steps[static_cast<std::size_t>(plan.values[static_cast<std::size_t>(value)].producer)];
      const std::vector<float> values = net.executor().read_tap(target).floats();
      const Count found = count(values);
      if (found.all() == 0) continue;
      net.executor().tap({});
      const std::string options = step.layer->describe();
      const DType t = plan.spec(value).dtype;
      return concat_text(step.label(), " (", step.layer->type_name(), options.empty() ? "" : " ", options,
                         ") is the first to make some: ", text_of(found, values.size()), " in ", t,
                         t == DType::f16    ? "; bf16 or f32 hold larger values"
                         : t == DType::bf16 ? "; f32 rounds less"
                                            : "");
    }
    net.executor().tap({});
    first = end;
  }
  return "no step makes any when run again";
}

}  // namespace

std::string check_finite(Session& net, std::span<const float> output) {
  const Count bad = count(output);
  if (bad.all() == 0) return {};
  Count inputs;
  for (const PlanPort& port : net.plan().inputs) {
    const Count found = count(net.input(port.name).floats());
    inputs.nan += found.nan, inputs.inf += found.inf;
  }
  if (inputs.all() > 0) {
    return concat_text("the input holds ", inputs.nan, " NaN and ", inputs.inf,
                       " Inf, which the model passes on: ", text_of(bad, output.size()), " in its output");
  }
  throw NonFiniteError(concat_text("the model's output holds ", text_of(bad, output.size()), ": ", first_step(net)));
}

}  // namespace frieze

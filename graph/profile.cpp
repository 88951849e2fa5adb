#include <frieze/graph/profile.h>

#include <algorithm>
#include <numeric>

#include <frieze/core/error.h>
#include <frieze/core/warning.h>
#include <frieze/graph/executor.h>

namespace frieze {
namespace {

template <class Part>
double total(const std::vector<ProfileStep>& steps, Part&& part) {
  return std::accumulate(steps.begin(), steps.end(), 0.0, [&](double sum, const ProfileStep& s) { return sum + part(s); });
}

std::int64_t largest_grid(const ReceiptNode* begin, const ReceiptNode* end) {
  std::int64_t largest = 0;
  for (const ReceiptNode* node = begin; node != end; ++node) {
    largest = std::max(largest, std::int64_t{node->grid[0]} * node->grid[1] * node->grid[2]);
  }
  return largest;
}

void take_rates(ProfileReport& report, const DeviceRates& rates) {
  report.flops_per_us = rates.flops_per_us;
  report.product_size = rates.product_size;
  report.sm_count = rates.sm_count;
  if (rates.copies.empty()) return;
  report.copy_bytes_per_us = rates.copies.back().bytes / rates.copies.back().us;
  for (const DeviceRates::Copy& copy : rates.copies) {
    if (copy.bytes <= rates.l2_bytes) report.cached_bytes_per_us = std::max(report.cached_bytes_per_us, copy.bytes / copy.us);
  }
}

}  // namespace

double ProfileReport::sum_us() const {
  return total(steps, [](const ProfileStep& s) { return s.us; });
}
double ProfileReport::floor_us() const {
  return total(steps, [](const ProfileStep& s) { return s.floor_us(); });
}
double ProfileReport::wait_us() const {
  return total(steps, [](const ProfileStep& s) { return s.wait_us; });
}

std::vector<std::size_t> ProfileReport::ranking() const {
  std::vector<std::size_t> order(steps.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return steps[a].above_us() > steps[b].above_us(); });
  return order;
}

ProfileReport profile(Session& net, const ProfileOptions& options) {
  check<OptionError>(options.rounds >= 1, "profile: rounds must be at least 1, got ", options.rounds);
  const WarningScope warnings(&net.options().on_warning);
  const Plan& plan = net.plan();
  const Receipt& receipt = net.receipt();
  ProfileReport report;
  report.device = receipt.device;
  report.dtype = plan.spec(plan.inputs.front().value).dtype;
  report.tf32 = receipt.tf32;
  report.stamped = net.device().is_cuda();
  report.reference = net.device().is_reference();
  const DeviceRates rates = net.device().backend().measure_rates(report.dtype, report.tf32);
  take_rates(report, rates);
  const StepTimes times = net.executor().time_steps(options.rounds);
  report.rounds = times.rounds;
  report.run_us = times.run.mid;
  report.run_low_us = times.run.low;
  report.run_high_us = times.run.high;
  report.stamped_us = times.stamped_run.mid;
  report.stamp_us = times.stamp_us;
  report.between_us = times.between_us;
  const ReceiptNode* node = receipt.nodes.data();
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    const ReceiptStep& made = receipt.steps[i];
    const auto without_stamp = [&](double us) { return std::max(0.0, us - times.stamp_us); };
    ProfileStep one;
    one.path = step.label();
    one.layer = std::string(step.layer->type_name());
    if (const std::string options_text = step.layer->describe(); !options_text.empty()) one.layer += " " + options_text;
    one.algorithm = made.algorithm;
    one.output = outputs_text(plan, step);
    one.nodes = made.nodes;
    one.us = without_stamp(times.steps[i].mid);
    one.low_us = without_stamp(times.steps[i].low);
    one.high_us = without_stamp(times.steps[i].high);
    one.bytes = step.bytes;
    one.flops = step.flops;
    one.copy_us = rates.copy_us(step.bytes);
    one.math_us = rates.flops_per_us > 0 ? step.flops / rates.flops_per_us : 0;
    // A stamp is a kernel of one thread: nearly all of its cost is the way from one node to the next.
    one.wait_us = std::min(one.us, made.nodes * times.stamp_us);
    if (receipt.captured) {
      one.blocks = largest_grid(node, node + made.nodes);
      node += made.nodes;
    }
    report.steps.push_back(std::move(one));
  }
  return report;
}

}  // namespace frieze

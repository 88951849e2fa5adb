/// Every report as JSON. One file, so that the JSON library is compiled once for all of graph/.
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include <frieze/graph/against.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/repeat.h>
#include <frieze/graph/report/memory_text.h>
#include <frieze/graph/verify.h>

namespace frieze {
namespace {

using Json = nlohmann::ordered_json;

// JSON knows no infinities, and null would read as "not measured".
Json number(double v) {
  if (std::isfinite(v)) return v;
  return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
}

Json spec_json(const TensorSpec& spec) {
  return {{"shape", spec.shape.extents()}, {"dtype", name(spec.dtype)}, {"format", name(spec.format)}};
}

Json ports_json(const Plan& plan, const std::vector<PlanPort>& ports) {
  Json out = Json::array();
  for (const PlanPort& port : ports) {
    Json one = {{"name", port.name}, {"value", port.value}};
    one.update(spec_json(plan.spec(port.value)));
    out.push_back(std::move(one));
  }
  return out;
}

Json bill_json(const MemoryBill& bill) {
  return {{"weights", bill.weights},     {"arena", bill.arena}, {"arena_lower_bound", bill.arena_least},
          {"workspace", bill.workspace}, {"ports", bill.ports}, {"graph", bill.graph},
          {"total", bill.total()}};
}

// Invalid UTF-8 (a name out of a file) is replaced, not refused: a report must come out. What is not ASCII is escaped: no text from
// outside reaches a terminal as it is.
std::string dump(const Json& json) { return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n"; }

Json plan_as_json(const Plan& plan) {
  Json steps = Json::array();
  for (const Step& step : plan.steps) {
    Json fused = Json::array();
    for (const FusedOp& f : step.epilogue) {
      const bool unary = f.op.kind == EpilogueOp::Kind::activation;
      fused.push_back({{"op", unary ? name(f.op.activation) : f.op.kind == EpilogueOp::Kind::add ? "add" : "mul"}, {"path", f.path}});
    }
    Json one = {{"path", step.path},         {"layer", step.layer->type_name()}, {"options", step.layer->describe()},
                {"inputs", step.inputs},     {"outputs", step.outputs},          {"format", name(step.format)},
                {"fused", std::move(fused)}, {"flops", number(step.flops)},      {"bytes", number(step.bytes)},
                {"note", step.note}};
    if (const Repeat* const loop = loop_of(step)) one["loop"] = {{"iterations", loop->iterations()}, {"body", plan_as_json(loop->body())}};
    steps.push_back(std::move(one));
  }
  Json views = Json::array();
  for (const PlanView& view : plan.views) {
    views.push_back({{"path", view.step.path},
                     {"layer", view.step.layer->type_name()},
                     {"options", view.step.layer->describe()},
                     {"inputs", view.step.inputs},
                     {"outputs", view.step.outputs},
                     {"before", view.before}});
  }
  Json values = Json::array();
  for (const PlanValue& value : plan.values) {
    Json one = {{"name", value.name}, {"producer", value.producer}};
    one.update(spec_json(value.spec));
    if (value.storage >= 0) {
      const std::span strides(value.strides.begin(), static_cast<std::size_t>(value.spec.shape.rank()));
      one.update({{"storage", value.storage}, {"offset", value.offset}, {"strides", strides}});
    }
    values.push_back(std::move(one));
  }
  Json rewrites = Json::array();
  for (const AppliedRewrite& rewrite : applied_rewrites(plan)) rewrites.push_back({{"name", rewrite.name}, {"times", rewrite.times}});
  Json storages = Json::array();
  for (const Storage& storage : plan.storages) {
    constexpr const char* kNames[] = {"arena", "port", "constant"};
    storages.push_back({{"owner", storage.owner}, {"bytes", storage.bytes}, {"where", kNames[static_cast<std::size_t>(storage.where)]}});
  }
  Json constants = Json::array();
  for (const PlanConstant& c : plan.constants) constants.push_back(c.value);
  return {{"inputs", ports_json(plan, plan.inputs)},
          {"outputs", ports_json(plan, plan.outputs)},
          {"constants", std::move(constants)},
          {"rewrites", std::move(rewrites)},
          {"steps", std::move(steps)},
          {"views", std::move(views)},
          {"values", std::move(values)},
          {"storages", std::move(storages)}};
}

}  // namespace

std::string plan_json(const Plan& plan) {
  plan.check_alive();
  return dump(plan_as_json(plan));
}

std::string memory_json(const Plan& plan, const MemoryPlan& memory, const MemoryBill& bill) {
  Json placements = Json::array();
  for (const Placement& p : memory.placements) {
    placements.push_back({{"holder", holder(plan, p)},
                          {"kind", p.value < 0 ? "workspace" : "value"},
                          {"offset", p.offset},
                          {"bytes", p.bytes},
                          {"first_step", p.first_step},
                          {"last_step", p.last_step}});
  }
  return dump({{"bill", bill_json(bill)},
               {"arena", {{"bytes", memory.arena_bytes}, {"lower_bound", memory.lower_bound}, {"placements", std::move(placements)}}}});
}

std::string Receipt::json() const {
  Json node_list = Json::array();
  for (const ReceiptNode& node : nodes) {
    Json one = {{"path", node.path}, {"kind", node.kind}};
    if (node.kind == "kernel")
      one.update({{"function", node.function},
                  {"grid", node.grid},
                  {"block", node.block},
                  {"shared_bytes", node.shared_bytes},
                  {"registers", node.registers}});
    node_list.push_back(std::move(one));
  }
  Json step_list = Json::array();
  for (const ReceiptStep& step : steps) {
    step_list.push_back({{"path", step.path},
                         {"layer", step.layer},
                         {"algorithm", step.algorithm},
                         {"nodes", step.nodes},
                         {"workspace_bytes", step.workspace_bytes},
                         {"note", step.note}});
  }
  Json view_list = Json::array();
  for (const ReceiptView& view : views) view_list.push_back({{"path", view.path}, {"layer", view.layer}, {"of", view.of}});
  Json edge_json = Json::array();
  for (const ReceiptEdge& e : edge_list) edge_json.push_back({{"from", e.from}, {"to", e.to}, {"programmatic", e.programmatic}});
  return dump({{"device", device},
               {"captured", captured},
               {"launches_per_run", launches_per_run},
               {"tf32", tf32},
               {"kernels", count("kernel")},
               {"memsets", count("memset")},
               {"memcpys", count("memcpy")},
               {"edges", edges},
               {"dependent_launches", dependent_launches},
               {"capture_attempts", capture_attempts},
               {"prepare_ms", number(prepare_ms)},
               {"capture_ms", number(capture_ms)},
               {"instantiate_ms", number(instantiate_ms)},
               {"upload_ms", number(upload_ms)},
               {"streams", streams},
               {"memory", bill_json(memory)},
               {"steps", std::move(step_list)},
               {"views", std::move(view_list)},
               {"nodes", std::move(node_list)},
               {"edge_list", std::move(edge_json)}});
}

std::string ProfileReport::json() const {
  Json list = Json::array();
  for (const ProfileStep& step : steps) {
    Json one = {{"path", step.path}, {"layer", step.layer}, {"output", step.output}, {"algorithm", step.algorithm}, {"nodes", step.nodes}};
    one.update({{"blocks", step.blocks}, {"us", number(step.us)}, {"low_us", number(step.low_us)}, {"high_us", number(step.high_us)}});
    one.update({{"bytes", number(step.bytes)}, {"flops", number(step.flops)}});
    if (stamped) {
      one.update({{"wait_us", number(step.wait_us)},
                  {"copy_us", number(step.copy_us)},
                  {"math_us", number(step.math_us)},
                  {"floor_us", number(step.floor_us())},
                  {"ratio", number(step.ratio())},
                  {"above_us", number(step.above_us())}});
    }
    list.push_back(std::move(one));
  }
  Json out = {{"device", device}, {"dtype", name(dtype)}, {"tf32", tf32}, {"rounds", rounds}};
  out.update({{"method", stamped ? "stamps" : "wall clock"}, {"run_us", number(run_us)}, {"sum_us", number(sum_us())}});
  out.update({{"run_low_us", number(run_low_us)}, {"run_high_us", number(run_high_us)}, {"excess", number(excess())}});
  if (stamped) {
    out.update({{"stamped_us", number(stamped_us)}, {"stamp_us", number(stamp_us)}, {"between_us", number(between_us)}});
    out.update({{"wait_us", number(wait_us())}, {"floor_us", number(floor_us())}, {"sm_count", sm_count}});
    out["measured"] = {{"copy_gb_per_s", number(copy_bytes_per_us / 1000)},
                       {"l2_copy_gb_per_s", number(cached_bytes_per_us / 1000)},
                       {"product_tflop_per_s", number(flops_per_us / 1e6)},
                       {"product_size", product_size}};
  }
  out["steps"] = std::move(list);
  return dump(out);
}

std::string AgainstReport::json() const {
  Json list = Json::array();
  for (const AgainstOutput& output : outputs) {
    const Difference& d = output.difference;
    Json one = {{"name", output.name},
                {"largest", number(output.largest)},
                {"max_abs", number(d.max_abs)},
                {"max_rel", number(d.max_rel)},
                {"nmse", number(d.nmse)},
                {"psnr_db", number(output.psnr)},
                {"share", number(d.share)},
                {"worst_index", d.worst_index},
                {"nan", output.nan},
                {"inf", output.inf},
                {"ok", output.ok()}};
    one.update(spec_json(output.spec));
    list.push_back(std::move(one));
  }
  return dump({{"ok", ok()},
               {"device", device},
               {"file", file},
               {"tf32", tf32},
               {"tolerance", number(tolerance)},
               {"tolerance_was_given", tolerance_was_given},
               {"inputs", inputs},
               {"outputs", std::move(list)}});
}

std::string VerifyReport::json() const {
  Json list = Json::array();
  for (const VerifyLayer& layer : layers) {
    Json one = {{"path", layer.path}, {"layer", layer.layer}};
    one.update(spec_json(layer.spec));
    one.update({{"ok", layer.ok()},
                {"max_abs", number(layer.isolated.max_abs)},
                {"max_rel", number(layer.isolated.max_rel)},
                {"max_ulp", number(layer.isolated.max_ulp)},
                {"nmse", number(layer.isolated.nmse)},
                {"budget", number(layer.isolated.budget)},
                {"share", number(layer.isolated.share)},
                {"excess", number(layer.isolated.excess)},
                {"worst_index", layer.isolated.worst_index},
                {"drift_nmse", number(layer.drift_nmse)},
                {"drift_max_abs", number(layer.accumulated.max_abs)},
                {"drift_max_rel", number(layer.accumulated.max_rel)},
                {"nan", layer.nan},
                {"inf", layer.inf}});
    list.push_back(std::move(one));
  }
  Json proofs = Json::array();
  for (const VerifyRewrite& rewrite : rewrites) {
    proofs.push_back({{"name", rewrite.name},
                      {"times", rewrite.times},
                      {"ok", rewrite.ok()},
                      {"path", rewrite.path},
                      {"max_abs", number(rewrite.worst.max_abs)},
                      {"max_rel", number(rewrite.worst.max_rel)},
                      {"nmse", number(rewrite.worst.nmse)},
                      {"budget", number(rewrite.worst.budget)},
                      {"share", number(rewrite.worst.share)}});
  }
  return dump({{"device", device},
               {"ok", ok()},
               {"tf32", tf32},
               {"worst_share", number(worst_share)},
               {"output_nmse", number(output_nmse)},
               {"first_divergent", first_divergent},
               {"first_non_finite", first_non_finite},
               {"inputs_non_finite", inputs_non_finite},
               {"replay_equals_eager", replay_equals_eager},
               {"second_replay_equal", second_replay_equal},
               {"changed_inputs_equal", changed_inputs_equal},
               {"restored_inputs_equal", restored_inputs_equal},
               {"reused_memory_equal", reused_memory_equal},
               {"interleaved_equal", interleaved_equal},
               {"interleaved_with_other_batch", interleaved},
               {"replays", replays},
               {"replays_equal", replays_equal},
               {"grown_bytes", grown_bytes},
               {"first_unequal", first_unequal},
               {"rewrites", std::move(proofs)},
               {"layers", std::move(list)}});
}

}  // namespace frieze

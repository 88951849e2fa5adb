#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include <frieze/graph/memory_bill.h>
#include <frieze/graph/report/memory_text.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/graph/verify.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

using nlohmann::json;

struct ReportedModel : Module {
  Times conv{{.absorbs = 2, .formats = prefers_nhwc()}};
  Times wide{{.large_output = true}};
  ReportedModel() {
    add("conv", conv);
    add("wide", wide);
  }
  Value forward(Value x) const override { return wide(silu(conv(x)) + x); }
};

Plan plan_of_model() {
  static const ReportedModel model;  // a plan refers to its model's layers
  return optimize(trace(model, {{"image", {1, 3, 8, 8}, DType::bf16}}));
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

TEST(TextTableTest, AlignsColumnsAndLeavesNoBlanksAtLineEnds) {
  TextTable table({{"name"}, {"n", Align::right}, {"note"}});
  table.row({"a", "1", ""});
  table.row({"longer", "100", "x"});
  EXPECT_EQ(table.text(),
            "name      n  note\n"
            "------  ---  ----\n"
            "a         1\n"
            "longer  100  x\n");
}

TEST(TextTableTest, Numbers) {
  EXPECT_EQ(mebibytes(3 << 19), "1.50 MiB");
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(short_number(1.23456e-7), "1.23e-07");
  EXPECT_EQ(counted(1, "launch"), "1 launch");
  EXPECT_EQ(counted(2, "launch"), "2 launches");
  EXPECT_EQ(counted(0, "node"), "0 nodes");
}

TEST(PlanReportTest, TheTableShowsEveryStepWithItsCost) {
  const Plan plan = plan_of_model();
  const std::string text = plan_text(plan);
  EXPECT_TRUE(contains(text, "input image: [1,3,8,8] bf16 nchw"));
  EXPECT_TRUE(contains(text, "output y: [1,6,8,8] bf16 nchw"));
  EXPECT_TRUE(contains(text, "+silu+add"));
  EXPECT_TRUE(contains(text, "Times by 2"));
  const std::vector<std::string> all = lines(text);
  EXPECT_EQ(all.size(), plan.steps.size() + 5) << text;  // input, title, rule, output, totals
  EXPECT_TRUE(contains(all.back(), std::to_string(plan.steps.size()) + " steps"));
}

TEST(PlanReportTest, DotNamesEveryStepAndEdge) {
  const Plan plan = plan_of_model();
  const std::string dot = plan_dot(plan);
  std::size_t arrows = 0, inputs = 0;
  for (std::size_t at = 0; (at = dot.find(" -> ", at)) != std::string::npos; ++at) ++arrows;
  for (const Step& step : plan.steps) inputs += step.inputs.size();
  EXPECT_EQ(arrows, inputs + plan.outputs.size());
  EXPECT_TRUE(contains(dot, "conv+silu+add\\nTimes by 2"));
  EXPECT_EQ(dot.rfind("}\n"), dot.size() - 2);
  EXPECT_EQ(std::count(dot.begin(), dot.end(), '"') % 2, 0);
}

TEST(PlanReportTest, DotEscapesNames) {
  Plan plan = trace(Lambda([](Value x) { return relu(x); }), {{"in\"put\\", {1}}});
  EXPECT_TRUE(contains(plan_dot(plan), R"("in\"put\\")"));
}

TEST(PlanReportTest, JsonHoldsThePlan) {
  const Plan plan = plan_of_model();
  const json j = json::parse(plan_json(plan));
  ASSERT_EQ(j.at("steps").size(), plan.steps.size());
  ASSERT_EQ(j.at("values").size(), plan.values.size());
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    EXPECT_EQ(j["steps"][i]["path"], plan.steps[i].path);
    EXPECT_EQ(j["steps"][i]["inputs"].get<std::vector<int>>(), plan.steps[i].inputs);
    EXPECT_EQ(j["steps"][i]["fused"].size(), plan.steps[i].epilogue.size());
  }
  EXPECT_EQ(j["inputs"][0]["shape"], (std::vector<int>{1, 3, 8, 8}));
  EXPECT_EQ(j["inputs"][0]["dtype"], "bf16");
}

TEST(PlanReportTest, JsonSurvivesNamesThatAreNotUtf8) {
  const Plan plan = trace(Lambda([](Value x) { return relu(x); }), {{"\xff\xfe", {1}}});
  EXPECT_FALSE(json::parse(plan_json(plan)).empty());
}

TEST(MemoryReportTest, TextAndJsonNameTheHolders) {
  const Plan plan = plan_of_model();
  std::vector<std::int64_t> workspaces(plan.steps.size(), 0);
  workspaces.at(1) = 1000;
  const MemoryPlan memory = plan_memory(plan, workspaces);
  const MemoryBill bill{.weights = 1 << 20, .arena = memory.arena_bytes, .workspace = 1000, .ports = 2 << 20, .graph = 0};
  const std::string text = memory_text(plan, memory, bill);
  EXPECT_TRUE(contains(text, "weights 1.00 MiB"));
  EXPECT_TRUE(contains(text, "ports 2.00 MiB"));
  EXPECT_TRUE(contains(text, "workspace of " + plan.steps[1].path));
  EXPECT_TRUE(contains(text, "#"));
  EXPECT_TRUE(contains(text, std::to_string(memory.lower_bound)));
  const json j = json::parse(memory_json(plan, memory, bill));
  EXPECT_EQ(j["bill"]["total"], bill.total());
  EXPECT_EQ(j["arena"]["bytes"], memory.arena_bytes);
  EXPECT_EQ(j["arena"]["placements"].size(), memory.placements.size());
}

TEST(MemoryReportTest, LifeBarsShowWhenBytesAreHeld) {
  const Plan plan = trace(Lambda([](Value x) { return relu(relu(relu(relu(x)))); }), {{"x", {64}}});
  const std::string text = memory_text(plan, plan_memory(plan, {}), {});
  EXPECT_TRUE(contains(text, "##.."));
  EXPECT_TRUE(contains(text, ".##."));
  EXPECT_TRUE(contains(text, "..##"));
  EXPECT_TRUE(contains(text, "0.0 % above"));
}

TEST(MemoryReportTest, AnEmptyArenaIsSaid) {
  const Plan plan = trace(Lambda([](Value x) { return relu(x); }), {{"x", {64}}});
  EXPECT_TRUE(contains(memory_text(plan, plan_memory(plan, {}), {}), "the arena is empty"));
}

Receipt captured_receipt() {
  Receipt r;
  r.device = "Some GPU (cuda:0)";
  r.captured = true;
  r.launches_per_run = 1;
  r.nodes = {{"a", "kernel", "conv_k", {1, 2, 3}, {32, 1, 1}, 1024, 0},
             {"a", "memset", "", {}, {}, 0, 0},
             {"b", "kernel", "add_k", {4, 1, 1}, {64, 1, 1}, 0, 0}};
  r.steps = {{"a", "Conv2d", "implicit gemm (tuned)", 2, 1 << 20}, {"b", "Add", "", 1, 0}};
  r.edges = 2;
  r.capture_attempts = 1;
  r.capture_ms = 1.25;
  r.memory = {.weights = 1 << 20, .arena = 2 << 20, .workspace = 1 << 20, .ports = 0, .graph = 3 << 20};
  return r;
}

TEST(ReceiptTest, TheTextProvesOneLaunch) {
  const std::string text = captured_receipt().text();
  for (const char* part :
       {"Some GPU (cuda:0), tf32 off", "1 launch per run", "3 nodes (2 kernels, 1 memset)", "2 edges", "0 dependent launches", "1 attempt)",
        "capture 1.25 ms", "implicit gemm (tuned)", "1 kernel, 1 memset", "weights 1.00 MiB", "graph 3.00 MiB"}) {
    EXPECT_TRUE(contains(text, part));
  }
  std::ostringstream out;
  out << captured_receipt();
  EXPECT_EQ(out.str(), text);
}

TEST(ReceiptTest, CountsNodesByKind) {
  const Receipt r = captured_receipt();
  EXPECT_EQ(r.count("kernel"), 2);
  EXPECT_EQ(r.count("memset"), 1);
  EXPECT_EQ(r.count("memcpy"), 0);
}

TEST(ReceiptTest, JsonHoldsNodesAndBill) {
  const json j = json::parse(captured_receipt().json());
  EXPECT_EQ(j["launches_per_run"], 1);
  EXPECT_EQ(j["kernels"], 2);
  EXPECT_EQ(j["nodes"].size(), 3U);
  EXPECT_EQ(j["nodes"][0]["grid"], (std::vector<int>{1, 2, 3}));
  EXPECT_FALSE(j["nodes"][1].contains("grid"));
  EXPECT_EQ(j["memory"]["total"], 6 << 20);
  EXPECT_EQ(j["steps"][0]["algorithm"], "implicit gemm (tuned)");
}

TEST(ReceiptTest, ACpuSessionSaysThatNothingIsCaptured) {
  const ReportedModel model;
  const Session net = compile(model, {{"image", {1, 3, 8, 8}}}, Device::reference());
  EXPECT_TRUE(contains(net.receipt().text(), "not captured"));
  EXPECT_FALSE(json::parse(net.receipt().json())["captured"].get<bool>());
  EXPECT_EQ(net.receipt().steps.size(), net.plan().steps.size());
}

TEST(VerifyReportTest, InfiniteDifferencesSurviveJson) {
  VerifyReport report;
  report.layers.push_back({"conv", "Conv2d", {{1}, DType::f32}, {}, {}});
  report.layers[0].isolated.share = std::numeric_limits<double>::infinity();
  report.worst_share = report.layers[0].isolated.share;
  const json j = json::parse(report.json());
  EXPECT_EQ(j["worst_share"], "inf");
  EXPECT_EQ(j["ok"], false);
  EXPECT_TRUE(contains(report.text(), "FAIL < worst"));
}

TEST(VerifyReportTest, EveryBitwiseCheckCountsForOk) {
  VerifyReport good;
  EXPECT_TRUE(good.ok());
  for (bool VerifyReport::*check :
       {&VerifyReport::replay_equals_eager, &VerifyReport::second_replay_equal, &VerifyReport::changed_inputs_equal,
        &VerifyReport::restored_inputs_equal, &VerifyReport::reused_memory_equal}) {
    VerifyReport bad;
    bad.*check = false;
    EXPECT_FALSE(bad.ok());
    EXPECT_TRUE(contains(bad.text(), "NO"));
    EXPECT_TRUE(contains(bad.text(), "FAILED"));
  }
}

TEST(VerifyReportTest, TheTableMarksTheWorstLayer) {
  const ReportedModel model;
  const VerifyReport report = verify(compile(model, {{"image", {1, 3, 8, 8}, DType::bf16}}, Device::reference()));
  const std::string text = report.text();
  EXPECT_TRUE(contains(text, "< worst"));
  EXPECT_TRUE(contains(text, "verify: ok"));
  EXPECT_TRUE(contains(text, "verify on reference, tf32 off"));
  EXPECT_EQ(json::parse(report.json())["layers"].size(), report.layers.size());
}

}  // namespace
}  // namespace frieze::test

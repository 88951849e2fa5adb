// Profiles: what is computed from times and rates, and how it is shown. The times themselves: profile_gpu_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include <frieze/graph/report/html.h>
#include <frieze/graph/report/memory_text.h>
#include <frieze/graph/session.h>
#include <frieze/graph/step_times.h>

#include "graph/test_layers.h"
#include "support/browser.h"
#include "support/temp_folder.h"

namespace frieze::test {
namespace {

using nlohmann::json;

TEST(Spread, IsTheMeanOfTheMiddleHalfAndTheQuartiles) {
  const Spread s = spread_of({100, 1, 4, 2, 3, 5, 6, 0});
  EXPECT_DOUBLE_EQ(s.mid, 3.5);
  EXPECT_DOUBLE_EQ(s.low, 2);
  EXPECT_DOUBLE_EQ(s.high, 5);
  EXPECT_DOUBLE_EQ(spread_of({7}).mid, 7);
  EXPECT_DOUBLE_EQ(spread_of({}).mid, 0);
}

TEST(DeviceRates, CopiesAreInterpolatedAndGoOnAtTheLargestOnesRate) {
  DeviceRates rates;
  EXPECT_DOUBLE_EQ(rates.copy_us(1e6), 0);
  rates.copies = {{100, 1}, {200, 3}, {400, 4}};
  EXPECT_DOUBLE_EQ(rates.copy_us(10), 1);
  EXPECT_DOUBLE_EQ(rates.copy_us(150), 2);
  EXPECT_DOUBLE_EQ(rates.copy_us(400), 4);
  EXPECT_DOUBLE_EQ(rates.copy_us(4000), 40);
}

ProfileReport stamped_report() {
  ProfileReport r;
  r.device = "Some GPU (cuda:0)";
  r.stamped = true;
  r.rounds = 50;
  r.run_us = 20;
  r.stamped_us = 24;
  r.stamp_us = 0.8;
  r.between_us = 1.5;
  r.copy_bytes_per_us = 3e6;
  r.cached_bytes_per_us = 5e6;
  r.flops_per_us = 7e8;
  r.product_size = 8192;
  r.sm_count = 132;
  ProfileStep norm{.path = "norm", .layer = "RMSNorm2d", .nodes = 1, .us = 5, .copy_us = 4, .math_us = 0.1, .wait_us = 0.8, .blocks = 64};
  ProfileStep conv{
      .path = "conv<b>&\"x\"", .layer = "Conv2d", .nodes = 2, .us = 14, .copy_us = 1, .math_us = 3, .wait_us = 1.6, .blocks = 9};
  r.steps = {norm, conv};
  return r;
}

TEST(ProfileReport, RanksByTimeAboveTheFloor) {
  const ProfileReport r = stamped_report();
  EXPECT_EQ(r.ranking(), (std::vector<std::size_t>{1, 0}));
  EXPECT_DOUBLE_EQ(r.steps[1].floor_us(), 3);
  EXPECT_DOUBLE_EQ(r.steps[1].above_us(), 11);
  EXPECT_DOUBLE_EQ(r.steps[0].ratio(), 1.25);
  EXPECT_DOUBLE_EQ(r.sum_us(), 19);
  EXPECT_DOUBLE_EQ(r.floor_us(), 7);
  EXPECT_DOUBLE_EQ(r.wait_us(), 2.4);
  EXPECT_NEAR(r.excess(), 0.025, 1e-12);
  const std::string text = r.text();
  for (const char* part : {"one replay 20.00 us", "add up to 19.00 us, with 1.50 us from one replay to the next: +2.5 %",
                           "stamps cost 0.80 us", "copies 3000 GB/s", "math", "bytes"}) {
    EXPECT_TRUE(contains(text, part));
  }
  EXPECT_LT(text.find("conv<b>"), text.find("RMSNorm2d"));
  const json j = json::parse(r.json());
  EXPECT_EQ(j["method"], "stamps");
  EXPECT_EQ(j["steps"][1]["above_us"], 11);
  EXPECT_EQ(j["between_us"], 1.5);
  EXPECT_EQ(j["measured"]["product_size"], 8192);
}

TEST(Profile, OfACpuSessionIsWallTimesWithoutFloors) {
  const Lambda model([](Value x) { return silu(times(times(x))); });
  Session net = compile(model, {{"x", {1, 8, 64, 64}, DType::bf16}}, Device::reference());
  net.input().copy_from(ramp(8 * 64 * 64));
  net.run();
  const std::vector<float> before = net.output().floats();
  const ProfileReport r = profile(net, {.rounds = 5});
  ASSERT_EQ(r.steps.size(), net.plan().steps.size());
  for (const ProfileStep& s : r.steps) {
    EXPECT_GT(s.us, 0) << s.path;
    EXPECT_EQ(s.floor_us(), 0) << s.path;
  }
  EXPECT_GT(r.run_us, 0);
  EXPECT_EQ(r.dtype, DType::bf16);
  EXPECT_EQ(net.output().floats(), before);
  EXPECT_TRUE(contains(r.text(), "wall times of the reference"));
  const json j = json::parse(r.json());
  EXPECT_EQ(j["method"], "wall clock");
  EXPECT_FALSE(j["steps"][0].contains("floor_us"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { profile(net, {.rounds = 0}); }), "at least 1, got 0"));
}

TEST(MemoryLimit, IsRefusedWithTheBill) {
  const Lambda model([](Value x) { return times(times(x)); });
  const std::vector<InputSpec> inputs = {{"x", {1, 4, 64, 64}}};  // three tensors of 64 KiB: two ports, one in the arena
  const std::int64_t held = compile(model, inputs, Device::reference()).receipt().memory.total();
  EXPECT_EQ(held, 3 << 16);
  EXPECT_NO_THROW(compile(model, inputs, Device::reference(), {.max_memory = held}));
  const std::string why = message_of<MemoryError>([&] { compile(model, inputs, Device::reference(), {.max_memory = held - 1}); });
  EXPECT_TRUE(contains(why, "arena 0.06 MiB"));
  EXPECT_TRUE(contains(why, "ports 0.12 MiB"));
}

TEST(MemoryPicture, ShowsWhoHoldsWhatWhen) {
  const Plan plan = trace(Lambda([](Value x) { return relu(relu(relu(relu(x)))); }), {{"x", {64}}});
  const std::string text = memory_picture(plan, plan_memory(plan, {}));
  EXPECT_TRUE(contains(text, "over 4 steps"));
  EXPECT_TRUE(contains(text, "5XX5"));  // tenths in use
  for (std::size_t i = 0; i + 1 < plan.steps.size(); ++i) EXPECT_TRUE(contains(text, "  " + plan.steps[i].path + "\n"));
  const Plan one = trace(Lambda([](Value x) { return relu(x); }), {{"x", {64}}});
  EXPECT_EQ(memory_picture(one, plan_memory(one, {})), "");
}

TEST(ReceiptGraph, DotHoldsNodesByStepAndDashedDependentLaunches) {
  Receipt r;
  r.nodes = {{"a", "kernel", "k<\"1\">", {8, 4, 1}, {32, 1, 1}, 0, 40},
             {"a", "memset", "", {}, {}, 0, 0},
             {"b", "kernel", "j", {1, 1, 1}, {64, 1, 1}, 16, 20}};
  r.edge_list = {{0, 1, false}, {1, 2, true}};
  r.captured = true;
  const std::string dot = r.dot();
  EXPECT_TRUE(contains(dot, R"(k<\"1\">\n8x4 blocks of 32)"));
  EXPECT_TRUE(contains(dot, "n0 -> n1;"));
  EXPECT_TRUE(contains(dot, "n1 -> n2 [style=dashed];"));
  EXPECT_EQ(std::count(dot.begin(), dot.end(), '{'), std::count(dot.begin(), dot.end(), '}'));
  EXPECT_TRUE(contains(r.text(), "regs"));
  const json j = json::parse(r.json());
  EXPECT_EQ(j["nodes"][0]["registers"], 40);
  EXPECT_EQ(j["edge_list"][1]["programmatic"], true);
}

TEST(ReceiptGraph, ChainsAreCounted) {
  EXPECT_EQ(chains_of(0, {}), 0);
  EXPECT_EQ(chains_of(3, {{0, 1}, {1, 2}}), 1);
  EXPECT_EQ(chains_of(4, {{0, 1}, {0, 2}, {1, 3}, {2, 3}}), 2);  // a fork that joins
  EXPECT_EQ(chains_of(3, {}), 3);
}

TEST(Html, EscapesWhatComesFromOutside) { EXPECT_EQ(html_escape("<a href='x'>&\"\n"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\\x0a"); }

// A page with everything on it.
std::string full_page() {
  const Lambda model([](Value x) { return times(silu(times(x, {.absorbs = 1}))); });
  Session net = compile(model, {{"x<script>alert(1)</script>", {1, 3, 16, 16}}}, Device::reference());
  const VerifyReport verified = verify(net);
  const ProfileReport report = stamped_report();
  return html_report({"a <b>title</b>", &net, &report, &verified});
}

TEST(Html, IsOneFileWithoutScriptsAndLinks) {
  const std::string page = full_page();
  for (const char* never : {"<script", "http://", "https://", "url(", "<link", "<img", "onload", "<b>title", "conv<b>"}) {
    EXPECT_FALSE(contains(page, never)) << never;
  }
  for (const char* part : {"default-src 'none'", "<svg", "prefers-color-scheme", "Error budget", "conv&lt;b&gt;", "Memory", "Receipt"}) {
    EXPECT_TRUE(contains(page, part));
  }
}

TEST(Html, ABrowserShowsItWithoutComplaint) {
  FRIEZE_NEEDS_BROWSER();
  const TempFolder folder;
  const std::string path = folder.write("report.html", full_page());
  const Rendered shown = render(path);
  EXPECT_EQ(shown.console, "");
  for (const char* part :
       {"<h1>a &lt;b&gt;title&lt;/b&gt;</h1>", "<rect class=\"math\"", "<rect class=\"hold\"", "id=\"budget\"", "</main>"}) {
    EXPECT_TRUE(contains(shown.dom, part));
  }
  // The check itself notices a page that is wrong.
  folder.write("report.html", full_page() + "<img src=\"https://example.org/x.png\">");
  EXPECT_NE(render(path).console, "");
}

}  // namespace
}  // namespace frieze::test

// Outputs against those of another program, by names of a file.
#include <frieze/graph/against.h>

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include <frieze/graph/report/html.h>
#include <frieze/layers/cast/cast.h>
#include <frieze/layers/linear/linear.h>

#include "graph/test_layers.h"
#include "support/temp_folder.h"

namespace frieze::test {
namespace {

// "sum" = a + b and "twice" = 2a.
std::vector<NamedValue> sum_and_twice(const std::vector<NamedValue>& in) {
  return {{"sum", in[0].value + in[1].value}, {"twice", in[0].value * 2}};
}

class AgainstTest : public ::testing::Test {
 protected:
  using Tensors = std::map<std::string, std::vector<float>>;

  static Session compiled(DType t = DType::f32) {
    return compile(Lambda(sum_and_twice), {{"a", {1, 4}, t}, {"b", {1, 4}, t}}, Device::reference());
  }
  static Tensors right() { return {{"a", {1, 2, 3, 4}}, {"b", {10, 20, 30, -40}}, {"sum", {11, 22, 33, -36}}, {"twice", {2, 4, 6, 8}}}; }
  Weights file(const Tensors& tensors) {
    std::map<std::string, HostTensor> owned;
    for (const auto& [name, values] : tensors)
      owned.emplace(name, HostTensor({Shape{1, static_cast<std::int64_t>(values.size())}}, values));
    save_safetensors(folder_.path() / "m.safetensors", owned);
    return Weights::open(folder_.path() / "m.safetensors");
  }
  // What is wrong with the file, without its name.
  std::string refused(const Tensors& tensors, const AgainstOptions& options = {}) {
    Session net = compiled();
    const Weights weights = file(tensors);
    const std::string text = message_of<WeightsError>([&] { (void)verify_against(net, weights, options); });
    EXPECT_EQ(text.find(weights.source() + ": "), 0U) << text;
    EXPECT_EQ(net.output("twice").floats(), std::vector<float>(4, 0)) << "nothing ran";
    return text.substr(std::min(text.size(), weights.source().size() + 2));
  }
  TempFolder folder_;
};

TEST_F(AgainstTest, TakesInputsByNameAndComparesEachOutput) {
  Session net = compiled();
  Tensors tensors = right();
  const AgainstReport report = verify_against(net, file(tensors));
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.inputs, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(report.outputs.size(), 2U);
  EXPECT_EQ(report.outputs[0].name, "sum");
  EXPECT_EQ(report.outputs[0].largest, 36);
  EXPECT_EQ(report.outputs[0].difference.max_abs, 0);
  EXPECT_TRUE(std::isinf(report.outputs[0].psnr));
  tensors["twice"][2] = 6.5F;
  const AgainstReport wrong = verify_against(net, file(tensors));
  EXPECT_FALSE(wrong.ok());
  EXPECT_TRUE(wrong.outputs[0].ok());
  EXPECT_FALSE(wrong.outputs[1].ok());
  EXPECT_EQ(wrong.outputs[1].difference.worst_index, 2);
  EXPECT_DOUBLE_EQ(wrong.outputs[1].difference.max_abs, 0.5);
  EXPECT_NEAR(wrong.outputs[1].psnr, 20 * std::log10(6 / 0.25), 1e-6) << "range 6, root mean square 0.5 / sqrt(4)";
}

TEST_F(AgainstTest, TheToleranceFollowsTheStepsOrIsGiven) {
  Session net = compiled();
  Tensors tensors = right();
  const double derived = verify_against(net, file(tensors)).tolerance;
  const ErrorBudget add = step_budget(net.plan(), net.plan().steps[0]), scale = step_budget(net.plan(), net.plan().steps[1]);
  const double u = unit_roundoff(DType::f32);
  EXPECT_DOUBLE_EQ(derived, 2 * u * std::hypot(add.roundings + add.terms, scale.roundings + scale.terms));
  tensors["twice"][0] += 0.04F;  // of 8
  EXPECT_FALSE(verify_against(net, file(tensors)).ok());
  EXPECT_TRUE(verify_against(net, file(tensors), {.tolerance = 0.0051}).ok());
  const AgainstReport narrow = verify_against(net, file(tensors), {.tolerance = 0.0049});
  EXPECT_FALSE(narrow.ok());
  EXPECT_TRUE(narrow.tolerance_was_given);
  EXPECT_NEAR(narrow.outputs[1].difference.share, 0.04 / (8 * 0.0049), 1e-3);
  EXPECT_THROW((void)verify_against(net, file(tensors), {.tolerance = -1}), OptionError);
  EXPECT_THROW((void)verify_against(net, file(tensors), {.tolerance = NAN}), OptionError);
}

// The values of a 16-bit run are a rounding away from PyTorch's in f32: within; a bug is not.
TEST_F(AgainstTest, SixteenBitRunsAreAllowedTheirRoundings) {
  for (const DType t : {DType::f16, DType::bf16}) {
    Linear linear(64, 32);
    init_random(linear, 3);
    const std::vector<InputSpec> exact{{"x", {5, 64}}}, narrow{{"x", {5, 64}, t}};
    Session truth = compile(linear, exact, Device::reference());
    std::vector<float> x(5 * 64);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
    truth.input().copy_from(x);
    truth.run();
    std::map<std::string, HostTensor> tensors;
    tensors.emplace("x", HostTensor({Shape{5, 64}}, x));
    tensors.emplace("y", truth.output().to_host());
    save_safetensors(folder_.path() / "n.safetensors", tensors);
    Session net = compile(linear, narrow, Device::reference());
    EXPECT_TRUE(verify_against(net, Weights::open(folder_.path() / "n.safetensors")).ok());
    std::vector<float> changed = linear.parameters()[1]->values;
    for (float& v : changed) v += 0.5F;
    linear.parameters()[1]->values = changed;
    Session wrong = compile(linear, narrow, Device::reference());
    EXPECT_FALSE(verify_against(wrong, Weights::open(folder_.path() / "n.safetensors")).ok());
  }
}

TEST_F(AgainstTest, IntegersMustBeEqual) {
  Session net = compile(Lambda([](const std::vector<NamedValue>& in) {
                          return std::vector<NamedValue>{{"ids", cast(in[0].value, DType::i64)}, {"x", cast(in[0].value, DType::f32)}};
                        }),
                        {{"tokens", {1, 3}, DType::i32}}, Device::reference());
  const auto saved = [&](const std::vector<std::int64_t>& ids, DType t) {
    std::map<std::string, HostTensor> tensors;
    tensors.emplace("tokens", HostTensor({Shape{1, 3}, DType::i64}, std::vector<std::int64_t>{7, 8, 1'000'000'007}));
    tensors.emplace("x", HostTensor({Shape{1, 3}}, std::vector<float>{7, 8, 1e9F}));
    if (is_integer(t)) {
      tensors.emplace("ids", HostTensor({Shape{1, 3}, t}, ids));
    } else {
      tensors.emplace("ids", HostTensor({Shape{1, 3}, t}, std::vector<float>{1, 2, 3}));
    }
    save_safetensors(folder_.path() / "i.safetensors", tensors);
    return Weights::open(folder_.path() / "i.safetensors");
  };
  EXPECT_TRUE(verify_against(net, saved({7, 8, 1'000'000'007}, DType::i64)).ok());
  const AgainstReport off = verify_against(net, saved({7, 8, 1'000'000'006}, DType::i64), {.tolerance = 1});
  EXPECT_FALSE(off.ok()) << "one apart, which f32 does not see";
  EXPECT_TRUE(off.outputs[1].ok());
  const std::string text = message_of<WeightsError>([&] { (void)verify_against(net, saved({}, DType::f32)); });
  EXPECT_TRUE(contains(text, "tensor 'ids': dtype: got F32, expected I32 or I64"));
}

TEST_F(AgainstTest, InputsMayComeFromElsewhere) {
  Session net = compiled();
  Tensors tensors = right();
  tensors.erase("b");
  net.input("b").copy_from(std::vector<float>{10, 20, 30, -40});
  const AgainstReport report = verify_against(net, file(tensors), {.given = {"b"}});
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.inputs, std::vector<std::string>{"a"});
  EXPECT_EQ(refused(right(), {.given = {"b"}}), "tensor 'b' is an input that is given otherwise");
  EXPECT_THROW((void)verify_against(net, file(tensors), {.given = {"c"}}), OptionError);
}

TEST_F(AgainstTest, FilesThatDoNotFitAreRefusedBeforeAnythingRuns) {
  Tensors tensors = right();
  tensors.erase("sum");
  EXPECT_EQ(refused(tensors), "no tensor 'sum' for the model's output [1,4]");
  tensors = right();
  tensors["twce"] = tensors["twice"];
  tensors.erase("twice");
  EXPECT_EQ(refused(tensors), "no tensor 'twice' for the model's output [1,4], nearest name 'twce'");
  tensors = right();
  tensors.erase("a");
  EXPECT_EQ(refused(tensors), "no tensor 'a' for the model's input [1,4]");
  tensors = right();
  tensors["sum"] = {1, 2, 3};
  EXPECT_EQ(refused(tensors), "tensor 'sum' is [1,3], the model's output [1,4]");
  tensors = right();
  tensors["b"].push_back(1);
  EXPECT_EQ(refused(tensors), "tensor 'b' is [1,5], the model's input [1,4]");
  tensors = right();
  tensors["twice"] = {2, NAN, INFINITY, 8};
  EXPECT_EQ(refused(tensors), "tensor 'twice': 2 of 4 values are NaN or Inf in f32: nothing can be compared with them");
  tensors = right();
  tensors["a"][0] = -INFINITY;
  EXPECT_EQ(refused(tensors), "tensor 'a': 1 of 4 values are NaN or Inf in f32: nothing can be compared with them");
  tensors = right();
  tensors["\x1b[31mred\n"] = {1};
  EXPECT_EQ(refused(tensors),
            "tensor '\\x1b[31mred\\x0a' [1,1] is neither an input nor an output of the model, which has 'a', 'b', 'sum', 'twice'");
}

TEST_F(AgainstTest, ValuesThatTheModelMakesNotFiniteFail) {
  Session net = compile(Lambda([](Value x) { return x * 300 * 300; }), {{"x", {1, 2}, DType::f16}}, Device::reference());
  const AgainstReport report = verify_against(net, file({{"x", {1, 0}}, {"y", {60000, 0}}}));
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.outputs[0].inf, 1);
  EXPECT_NE(report.text().find("FAIL, 0 NaN, 1 Inf"), std::string::npos) << report.text();
}

TEST_F(AgainstTest, ReportsTellTheSame) {
  Session net = compiled();
  Tensors tensors = right();
  tensors["sum"][3] = 0;
  const AgainstReport report = verify_against(net, file(tensors));
  EXPECT_NE(report.text().find("verify: FAILED\n"), std::string::npos);
  EXPECT_NE(report.text().find("inputs from the file: a, b"), std::string::npos);
  EXPECT_NE(report.text().find("(from the steps' error budgets): 1 of 2"), std::string::npos) << report.text();
  const auto json = nlohmann::json::parse(report.json());
  EXPECT_FALSE(json.at("ok"));
  EXPECT_EQ(json.at("outputs").at(0).at("name"), "sum");
  EXPECT_EQ(json.at("outputs").at(0).at("max_abs"), 36);
  EXPECT_EQ(json.at("outputs").at(1).at("psnr_db"), "inf");
  EXPECT_EQ(json.at("inputs"), (std::vector<std::string>{"a", "b"}));
  HtmlReport page;
  page.title = "two <outputs>";
  page.session = &net;
  page.against = &report;
  const std::string html = html_report(page);
  EXPECT_NE(html.find("two &lt;outputs&gt;"), std::string::npos);
  EXPECT_NE(html.find(">sum<"), std::string::npos);
  EXPECT_NE(html.find("Verification failed."), std::string::npos);
  EXPECT_EQ(html.find("id=budget"), std::string::npos) << "no section about what was not asked for";
}

}  // namespace
}  // namespace frieze::test

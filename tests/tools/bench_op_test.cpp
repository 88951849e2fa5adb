// `frieze bench-op`: what it refuses, everywhere; what it reports, on a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/parity.h"
#include "tools/command.h"

namespace frieze::test {
namespace {

Outcome bench_op(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"bench-op", "rms_norm2d"});
  return run_frieze(arguments);
}

void expect_refusal(const std::vector<std::string>& arguments, const std::string& says) {
  const Outcome outcome = bench_op(arguments);
  EXPECT_EQ(outcome.status, 2) << says;
  EXPECT_EQ(outcome.out, "") << says;
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
}

// Options are refused before a GPU is looked for.
TEST(BenchOp, RefusesWithOneLine) {
  for (const char* shapes : {"1x2x3", "1x2x3x4x5", "1x0x3x4", "1x-2x3x4", "axbxcxd", "1x2x3x", "1x2x3x4,", ",1x2x3x4", "1x2x3x4.5",
                             "1X2X3X4", "99999999999999999999x1x1x1"}) {
    expect_refusal({"--shapes", shapes}, "--shapes: expected NxCxHxW");
  }
  expect_refusal({"--shapes", "1x2x3x4:f8"}, "f8");
  expect_refusal({"--shapes", "4294967296x4294967296x1x1"}, "2^63");
  expect_refusal({"--dtype", "int8"}, "int8");
  expect_refusal({"--format", "chwn"}, "chwn");
  expect_refusal({"--affine", "bias"}, "expected one of none, weight, weight+bias");
  expect_refusal({"--activation", "swoosh"}, "swoosh");
  expect_refusal({"--residual", "beside"}, "expected one of none, before, after");
  expect_refusal({"--rounds", "0"}, "--rounds: expected a whole number from 1");
  expect_refusal({"--json", "--csv"}, "--csv");
  expect_refusal({"--tensor", "weight=4"}, "takes --affine");
  expect_refusal({"--no-check"}, "takes --affine");
  if (!has_gpu()) expect_refusal({"--shapes", "1x2x3x4"}, "CUDA");
}

Outcome bench_layer_op(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "bench-op");
  return run_frieze(arguments);
}

TEST(BenchAnyLayer, RefusesWithOneLine) {
  const auto expect_message = [](const std::vector<std::string>& arguments, const std::string& says) {
    const Outcome outcome = bench_layer_op(arguments);
    EXPECT_EQ(outcome.status, 2) << says;
    EXPECT_EQ(outcome.out, "") << says;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << outcome.err;
  };
  expect_message({"conv9"}, "unknown layer 'conv9'");
  expect_message({"conv2d"}, "needs --shapes");
  expect_message({"relu", "--shapes", "1x2x0"}, "expected extents of at least 1");
  expect_message({"relu", "--shapes", "1x2x3x4x5x6x7x8x9x10"}, "at most");
  expect_message({"relu", "--shapes", "4294967296x4294967296x4"}, "2^63");
  expect_message({"relu", "--shapes", "1x2x3x4:f8"}, "f8");
  expect_message({"relu", "--shapes", "1x2x3x4", "--affine", "weight"}, "rms_norm2d's");
  expect_message({"relu", "--shapes", "1x2x3x4", "--set", "slope=1"}, "no setting 'slope'");
  expect_message({"relu", "--shapes", "1x2x3x4", "--tensor", "weight"}, "expected NAME=SHAPE");
  expect_message({"relu", "--shapes", "1x2x3x4", "--tensor", "x=1"}, "is there twice");
  expect_message({"relu", "--shapes", "1x2x3x4", "--tensor", "x2=1x2x3x4"}, "takes 1 input, got 2");
  expect_message({"conv2d", "--shapes", "1x2x3x4", "--tensor", "weight=5x3x1x1"}, "expects 3 input channels");
  expect_message({"batch_norm2d", "--shapes", "1x2x3x4", "--then", "tanhh"}, "tanhh");
  expect_message({"batch_norm2d", "--shapes", "1x2x3x4", "--then", "silu"}, "does not apply these steps");
  expect_message({"all", "--shapes", "1x2x3x4"}, "has its own table");
}

// Every row is built, with its layer's checks, before a GPU is looked for.
TEST(BenchAnyLayer, TheTableOfAllIsBuilt) {
  if (has_gpu()) GTEST_SKIP() << "times the whole table on a GPU";
  const Outcome outcome = bench_layer_op({"all"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("CUDA"), std::string::npos) << outcome.err;
}

TEST(BenchAnyLayer, MeasuresAndChecks) {
  FRIEZE_NEEDS_GPU();
  const std::vector<std::vector<std::string>> calls = {
      {"add", "--shapes", "2x33x17x19,1x64x64x64", "--tensor", "x2=1"},
      {"conv2d", "--shapes", "1x16x9x7", "--tensor", "weight=8x16x3x3", "--tensor", "bias=8", "--set", "padding=1", "--then", "silu"},
      {"linear", "--shapes", "5x64", "--tensor", "weight=32x64", "--dtype", "f32"},
  };
  for (std::vector<std::string> arguments : calls) {
    arguments.insert(arguments.end(), {"--rounds", "1", "--no-tune", "--json"});
    const Outcome outcome = bench_layer_op(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err << outcome.out;
    const auto report = nlohmann::json::parse(outcome.out, nullptr, false);
    ASSERT_TRUE(report.is_object()) << outcome.out;
    EXPECT_FALSE(report.at("results").empty());
    for (const auto& row : report.at("results")) {
      EXPECT_GT(row.at("us"), 0.0) << row;
      EXPECT_GT(row.at("ratio"), 0.0) << row;
      EXPECT_GE(row.at("share_of_budget"), 0.0) << row;
      EXPECT_LE(row.at("share_of_budget"), 1.0) << row;
      EXPECT_NE(row.at("kernel"), "") << row;
    }
  }
}

nlohmann::json expect_json(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const Outcome outcome = bench_op(std::move(arguments));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return nlohmann::json::parse(outcome.out, nullptr, false);
}

TEST(BenchOp, MeasuresAndChecks) {
  FRIEZE_NEEDS_GPU();
  const auto report = expect_json({"--shapes", "1x33x17x19,2x64x64x64:f32", "--dtype", "f16", "--rounds", "3", "--no-tune"});
  ASSERT_TRUE(report.is_object());
  const auto& rows = report.at("results");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].at("dtype"), "f16");
  EXPECT_EQ(rows[3].at("dtype"), "f32");
  EXPECT_EQ(rows[3].at("format"), "nhwc");
  EXPECT_EQ(rows[3].at("bytes"), 2 * 2 * 64 * 64 * 64 * 4.0);
  for (const auto& row : rows) {
    EXPECT_GT(row.at("us").at("median"), 0.0) << row;
    EXPECT_GT(row.at("ratio"), 0.02) << row;
    EXPECT_LT(row.at("ratio"), 2.0) << row << ": faster than a copy can be";
    EXPECT_LE(row.at("max_ulp"), 2.0) << row;
    EXPECT_GT(row.at("checked"), 1000) << row;
    EXPECT_NE(row.at("kernel"), "") << row;
    EXPECT_GE(row.at("correctly_rounded"), row.at("dtype") == "f16" ? 0.999 : 0.3) << row;
  }
}

TEST(BenchOp, EveryVariantIsCheckedToo) {
  FRIEZE_NEEDS_GPU();
  for (const char* residual : {"before", "after"}) {
    const auto report =
        expect_json({"--shapes", "1x96x31x33", "--affine", "weight+bias", "--activation", "silu", "--residual", residual, "--rounds", "1"});
    ASSERT_TRUE(report.is_object());
    for (const auto& row : report.at("results")) {
      EXPECT_EQ(row.at("bytes"), 3 * 96 * 31 * 33 * 2.0);
      EXPECT_GE(row.at("correctly_rounded"), 0.999) << row;
    }
  }
}

TEST(BenchOp, OtherReports) {
  FRIEZE_NEEDS_GPU();
  const std::vector<std::string> small = {"--shapes", "1x33x17x19", "--rounds", "1", "--no-tune"};
  const auto with = [&](const char* flag) {
    std::vector<std::string> arguments = small;
    arguments.emplace_back(flag);
    const Outcome outcome = bench_op(arguments);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.out;
  };
  const std::string csv = with("--csv"), profile = with("--profile");
  EXPECT_EQ(csv.rfind("shape,dtype,format,us,", 0), 0U) << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3) << csv;
  EXPECT_EQ(profile.rfind("1x33x17x19,bf16,nchw,", 0), 0U) << profile;
  EXPECT_NE(bench_op(small).out.find("ratio"), std::string::npos);
}

}  // namespace
}  // namespace frieze::test

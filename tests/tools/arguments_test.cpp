// Arguments mean what they say, or are refused in one line.
#include "tools/frieze/arguments.h"

#include <gtest/gtest.h>

#include <cmath>

#include <algorithm>

#include <frieze/core/error.h>

#include "tools/command.h"

namespace frieze::test {
namespace {

using namespace frieze::tools;

const std::string kPhoto = source_path("tests/data/chelsea.png"), kDcae = source_path("tests/golden/dc_ae/in");

template <class Parse>
void expect_refused(Parse&& parse, std::initializer_list<const char*> texts) {
  for (const char* text : texts) {
    try {
      parse(text);
      ADD_FAILURE() << "accepted: '" << text << "'";
    } catch (const OptionError& e) {
      EXPECT_EQ(std::string(e.what()).rfind("--x: expected ", 0), 0U) << e.what();
    }
  }
}

TEST(Parsers, Seeds) {
  EXPECT_EQ(parse_seed("--x", "0"), 0U);
  EXPECT_EQ(parse_seed("--x", "18446744073709551615"), ~std::uint64_t{0});
  expect_refused([](const char* t) { parse_seed("--x", t); }, {"", "-1", "-0", "18446744073709551616", "1e3", "0x10", "+5", " 5", "5 ",
                                                               "1.0", "five", "٣", "1,000", "99999999999999999999999"});
}

TEST(Parsers, WholeNumbers) {
  EXPECT_EQ(parse_whole("--x", "-3", -5, 5), -3);
  EXPECT_EQ(parse_whole("--x", "007", 1, 9), 7);
  expect_refused([](const char* t) { parse_whole("--x", t, 1, 100); },
                 {"", "0", "101", "-1", "1.5", "1e1", "+1", " 1", "1 ", "nan", "inf", "0x1", "4294967297", "9223372036854775808", "--1"});
}

TEST(Parsers, Numbers) {
  EXPECT_EQ(parse_number("--x", "0.5", 0, 255), 0.5);
  EXPECT_EQ(parse_number("--x", "1e2", 0, 255), 100);
  EXPECT_EQ(parse_number("--x", "-2.5e-1", -1, 255), -0.25);
  expect_refused([](const char* t) { parse_number("--x", t, 0, 255); }, {"", "nan", "NaN", "inf", "-inf", "infinity", "0x1p3", "+5", " 5",
                                                                         "5 ", "5,5", "256", "-1", "1e999", "1e", "5 6", ".5", "5."});
}

TEST(Parsers, ZeroHasNoSign) { EXPECT_FALSE(std::signbit(parse_number("--x", "-0", 0, 1))); }

TEST(Parsers, Bytes) {
  EXPECT_EQ(parse_bytes("--x", "1"), 1);
  EXPECT_EQ(parse_bytes("--x", "4096"), 4096);
  EXPECT_EQ(parse_bytes("--x", "512M"), 512LL << 20);
  EXPECT_EQ(parse_bytes("--x", "1.5G"), 3LL << 29);
  EXPECT_EQ(parse_bytes("--x", "0.5K"), 512);
  EXPECT_EQ(parse_bytes("--x", "2T"), 2LL << 40);
  expect_refused([](const char* t) { parse_bytes("--x", t); }, {"", "0", "0.1", "1.5", "-1", "-1G", "0G", "0.0001K", "1g", "1GB", "1 G",
                                                                "G", "1e30G", "99999999T", "nanG", "infG", "1E", "+1G"});
}

TEST(Parsers, Sizes) {
  EXPECT_EQ(parse_size("--x", "640x480").width, 640);
  EXPECT_EQ(parse_size("--x", "1x2147483647").height, 2147483647);
  expect_refused([](const char* t) { parse_size("--x", t); }, {"", "x", "1x", "x1", "0x5", "5x0", "-1x5", "1x-5", "1.5x2", "1x2x3", "1X2",
                                                               "1 x 2", "2147483648x1", "1e2x1", "0x10x10", "12"});
}

class Arguments : public ::testing::Test {
 protected:
  void expect_refusal(const std::vector<std::string>& arguments, const std::string& says) {
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << says;
    EXPECT_EQ(outcome.out, "") << says;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
    EXPECT_EQ(folder.count(), 0) << says;
  }
  std::string out = "out.png";
  TempFolder folder;
};

TEST_F(Arguments, AnEmptyTextIsNoValueOfAnyOption) {
  const std::string png = folder.file("o.png");
  const std::vector<std::string> run = {"run", "quickstart", "--device", "cpu", "--in", kPhoto, "--out", png};
  for (const char* option : {"--weights", "--tap-out", "--tap", "--dtype", "--random-weights", "--max-memory", "--variant"}) {
    for (const std::vector<std::string>& empty : {std::vector<std::string>{option, ""}, {std::string(option) + "="}}) {
      std::vector<std::string> all = run;
      all.insert(all.end(), empty.begin(), empty.end());
      expect_refusal(all, std::string(option) + ": expected ");
    }
  }
  expect_refusal({"denoise", kPhoto, "-o", png, "--sigma", ""}, "--sigma: expected a value");
  expect_refusal({"denoise", kPhoto, "-o", ""}, "--out: expected a value");
  expect_refusal({"denoise", "", "-o", png}, "in: expected a value");
  expect_refusal({"noise", kPhoto, "-o", png, "--seed", ""}, "--seed: expected a whole number");
  expect_refusal({"noise", kPhoto, "-o", png, "--sigma", ""}, "--sigma: expected a number");
  expect_refusal({"profile", "quickstart", "--html", ""}, "--html: expected a value");
  expect_refusal({"inspect", "quickstart", "--size", ""}, "--size: expected WIDTHxHEIGHT");
  expect_refusal({"bench", "quickstart", "--rounds", ""}, "--rounds: expected a whole number");
  expect_refusal({"compare", kPhoto, ""}, "pictures: expected a value");
  expect_refusal({"op", "silu", "--set", "", "--in", "x", "--out", "y"}, "--set: expected a value");
  expect_refusal({"vae", "encode", "--model", "", "--in", kPhoto, "--out", png}, "--model: expected a value");
  expect_refusal({"vae", "encode", "--model", "x", "--in", "", "--out", png}, "--in: expected a value");
  expect_refusal({"inspect", ""}, "model: expected a value");
}

TEST_F(Arguments, NumbersThatDoNotFitAreRefused) {
  const std::string png = folder.file("o.png");
  for (const char* seed : {"-1", "18446744073709551616", "1e3", "0x1", "+1", "1.0"}) {
    expect_refusal({"noise", kPhoto, "-o", png, "--seed", seed}, "--seed: expected a whole number from 0 to 18446744073709551615");
    expect_refusal({"verify", "quickstart", "--seed", seed}, "--seed: expected");
    expect_refusal({"inspect", "quickstart", "--random-weights", seed}, "--random-weights: expected");
    expect_refusal({"vae", "encode", "--model", "f32c32-sana-1.0", "--in", kPhoto, "--out", folder.file("z.safetensors"), "--weights",
                    std::string("random:") + seed},
                   "random:SEED: expected");
  }
  for (const char* memory : {"0.1", "0", "-1", "1GB", "nan", "1e99T"}) {
    expect_refusal({"inspect", "quickstart", "--max-memory", memory}, "--max-memory: expected bytes");
    expect_refusal({"denoise", kPhoto, "-o", png, "--max-memory", memory}, "--max-memory: expected bytes");
  }
  for (const char* rounds : {"0", "-3", "1.5", "1e3", "4294967297", "1000001"}) {
    expect_refusal({"bench", "quickstart", "--rounds", rounds}, "--rounds: expected a whole number from 1 to 1000000");
    expect_refusal({"profile", "quickstart", "--rounds", rounds}, "--rounds: expected");
  }
  for (const char* sigma : {"nan", "inf", "256", "-0.5", "0x10", "1,5"}) {
    expect_refusal({"noise", kPhoto, "-o", png, "--sigma", sigma}, "--sigma: expected");
    expect_refusal({"denoise", kPhoto, "-o", png, "--sigma", sigma}, "--sigma");
  }
  expect_refusal({"denoise", kPhoto, "-o", png, "--tile", "1099511627776"}, "--tile: expected");
  expect_refusal({"vae", "roundtrip", "--model", "x", "--in", kPhoto, "--tile", "--tile-size", "-1"}, "--tile-size: expected");
}

TEST_F(Arguments, SizesPastWhatFitsAreBilledNotWrapped) {
  for (const char* model : {"quickstart", "denoiser"}) {
    for (const char* size : {"2147483647x16", "16x2147483647", "2147483647x2147483647"}) {
      const Outcome outcome = run_frieze({"inspect", model, "--device", "cpu", "--size", size});
      EXPECT_EQ(outcome.status, 2) << model << ' ' << size;
      EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
      const bool said = outcome.err.find("this machine has") != std::string::npos || outcome.err.find("element count") != std::string::npos;
      EXPECT_TRUE(said) << outcome.err;
    }
  }
}

TEST_F(Arguments, AValueThatWasForgottenIsNotTheNextOption) {
  expect_refusal({"run", "quickstart", "--in", kPhoto, "--out", "--json"}, "--out: expected a value, got the option '--json'");
  expect_refusal({"noise", kPhoto, "-o", "--seed", "1"}, "--out: expected a value, got the option '--seed'");
  expect_refusal({"noise", kPhoto, "-o", "-x.png"}, "a file of that name is ./-x.png");
  expect_refusal({"vae", "encode", "--model", "x", "--in", "[a,b]", "--out", "y"}, "write ./[a,b]");
}

// Refused although nothing would be laid over it.
TEST_F(Arguments, ColoursAreStrict) {
  for (const char* colour : {"x", "#12345", "#1234567", "#12345g", "#+12345", "123456", "White", " ", "1", "true", "false"}) {
    const std::string flatten = std::string("--flatten=") + colour, says = "--flatten: expected white, black, grey or #RRGGBB, got '";
    expect_refusal({"noise", kPhoto, "-o", folder.file("o.png"), flatten}, says);
    expect_refusal({"denoise", kPhoto, "-o", folder.file("o.png"), flatten}, says);
    expect_refusal({"compare", kPhoto, kPhoto, flatten}, says);
    expect_refusal({"run", "quickstart", "--in", kPhoto, "--out", folder.file("o.png"), flatten}, says);
    expect_refusal({"vae", "roundtrip", "--model", kDcae, "--in", kPhoto, flatten}, says);
    expect_refusal({"vae", "encode", "--model", kDcae, "--in", kPhoto, "--out", folder.file("z.safetensors"), flatten}, says);
  }
}

// An option that would do nothing.
TEST_F(Arguments, AVariantNeedsAFolderOfCheckpoints) {
  const std::string file = kDcae + "/diffusion_pytorch_model.safetensors";
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{{}, {"--weights", file}, {"--random-weights", "1"}}) {
    for (const std::string model : {"quickstart", "denoiser", "dcae:f32c32-sana-1.0"}) {
      std::vector<std::string> all = {"inspect", model, "--device", "cpu", "--variant", "fp16"};
      all.insert(all.end(), more.begin(), more.end());
      expect_refusal(all, "variant fp16: names one of several checkpoints in a folder");
    }
  }
  for (const std::string& weights : {file, std::string("random:1")}) {
    expect_refusal({"vae", "roundtrip", "--model", kDcae, "--in", kPhoto, "--weights", weights, "--variant", "fp16"},
                   "variant fp16: names one of");
  }
}

TEST_F(Arguments, AnOptionIsGivenOnce) {
  const std::string png = folder.file("o.png");
  expect_refusal({"noise", kPhoto, "-o", png, "--seed", "1", "--seed", "2"}, "--seed");
  expect_refusal({"noise", kPhoto, "-o", png, "--out", png}, "--out");
  expect_refusal({"inspect", "quickstart", "--size", "16x16", "--size", "32x32"}, "--size");
  expect_refusal({"noise", kPhoto, kPhoto, "-o", png}, "chelsea.png");
}

TEST_F(Arguments, HelpDoesNotHideAMistake) {
  expect_refusal({"no_such_command", "--help"}, "unknown command 'no_such_command'");
  expect_refusal({"--help", "no_such_command"}, "unknown command 'no_such_command'");
  expect_refusal({"no_such_command", "--version"}, "unknown command 'no_such_command'");
  expect_refusal({"--no-such-option", "--help"}, "unknown option '--no-such-option'");
  expect_refusal({"vae", "fly", "--help"}, "unknown command 'fly'");
  for (const std::vector<std::string>& fine : std::vector<std::vector<std::string>>{{"--help"},
                                                                                    {"--version"},
                                                                                    {"denoise", "--help"},
                                                                                    {"vae", "--help"},
                                                                                    {"vae", "encode", "--help"},
                                                                                    {"run", "quickstart", "--help"}}) {
    const Outcome outcome = run_frieze(fine);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out, "");
    EXPECT_EQ(outcome.err, "");
  }
}

TEST_F(Arguments, SettingsOfALayerAreStrict) {
  for (const char* eps : {"nan", "inf", "", "1e999", "0x1", " 1"}) {
    expect_refusal({"op", "rms_norm2d", "--in", "absent", "--out", folder.file("y.safetensors"), "--set", std::string("eps=") + eps}, "");
  }
}

}  // namespace
}  // namespace frieze::test

// Rewrites on the command line: which applied, leaving one out, proving each.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "support/temp_folder.h"
#include "tools/command.h"

namespace frieze::test {
namespace {

using nlohmann::json;

const std::string kPhases = "nearest x2 before 3x3 as phases", kShortcut = "shortcut where it is added";

// A small model that has both; that of the name "in" has batch norms.
std::vector<std::string> on_model(const std::string& command, const std::vector<std::string>& more, const std::string& name = "sana") {
  std::vector<std::string> arguments{command, "dcae:" + source_path("tests/golden/dc_ae/" + name), "--size", "64x64", "--device", "cpu"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Rewrites, InspectListsThoseThatAppliedAndHowOften) {
  const Outcome text = run_frieze(on_model("inspect", {}));
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("\nrewrites: " + kShortcut + " (3), " + kPhases + " (3)\n"), std::string::npos) << text.out.substr(0, 4000);
  const json all = json::parse(run_frieze(on_model("inspect", {"--json"})).out)["plan"];
  EXPECT_EQ(all["rewrites"], json::parse("[{\"name\":\"" + kShortcut + "\",\"times\":3},{\"name\":\"" + kPhases + "\",\"times\":3}]"));

  const json without = json::parse(run_frieze(on_model("inspect", {"--json", "--no-rewrite", kShortcut})).out)["plan"];
  EXPECT_EQ(without["rewrites"], json::parse("[{\"name\":\"" + kPhases + "\",\"times\":3}]"));
  EXPECT_EQ(without["steps"].size(), all["steps"].size() + 3);
  const Outcome neither = run_frieze(on_model("inspect", {"--no-rewrite", kShortcut, "--no-rewrite=" + kPhases}));
  EXPECT_EQ(neither.out.find("\nrewrites: "), std::string::npos);
  EXPECT_NE(neither.out.find("Upsample"), std::string::npos);
}

TEST(Rewrites, VerifyProvesEachAlone) {
  const json report = json::parse(run_frieze(on_model("verify", {"--rewrites", "--json"})).out)["report"];
  ASSERT_EQ(report["rewrites"].size(), 2U);
  for (const json& one : report["rewrites"]) {
    EXPECT_EQ(one["times"], 3) << one;
    EXPECT_EQ(one["ok"], true) << one;
    EXPECT_LT(one["share"], 1) << one;
    EXPECT_GT(one["budget"], 0) << one;
  }
  const Outcome text = run_frieze(on_model("verify", {"--rewrites", "--no-rewrite", kPhases}));
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_EQ(text.out.find("rewrites within"), std::string::npos) << "the shortcut is added to phases";
  const Outcome norms = run_frieze(on_model("verify", {"--rewrites", "--dtype", "bf16"}, "in"));
  EXPECT_EQ(norms.status, 0) << norms.err;
  EXPECT_NE(norms.out.find("\nbatch norm into weights       2  "), std::string::npos) << norms.out;
  const Outcome without = run_frieze(on_model("verify", {"--rewrites", "--no-rewrite", kShortcut}));
  EXPECT_NE(without.out.find("rewrites within their budget: 1 of 1\n"), std::string::npos) << without.out;
}

// Every command that compiles refuses a name that there is not, with those that there are, before it reads or makes anything.
TEST(Rewrites, UnknownNamesAreRefusedByEveryCommandThatCompiles) {
  const TempFolder folder;
  const std::string nowhere = folder.file("nowhere.png"), out = folder.file("out.png");
  const std::vector<std::vector<std::string>> commands = {
      {"run", "quickstart", "--in", nowhere, "--out", out},
      {"verify", "quickstart"},
      {"inspect", "quickstart"},
      {"bench", "quickstart"},
      {"profile", "quickstart"},
      {"op", "conv2d", "--in", nowhere, "--out", out},
      {"denoise", nowhere, "-o", out},
      {"vae", "encode", "--model", nowhere, "--in", nowhere, "--out", out},
      {"vae", "decode", "--model", nowhere, "--in", nowhere, "--out", out},
      {"vae", "roundtrip", "--model", nowhere, "--in", nowhere, "--out", out},
  };
  for (std::vector<std::string> command : commands) {
    for (const char* name : {"phases", "batch norm into weights,shortcut where it is added"}) {
      std::vector<std::string> arguments = command;
      arguments.insert(arguments.end(), {"--no-rewrite", kPhases, "--no-rewrite", name});
      const Outcome o = run_frieze(arguments);
      EXPECT_EQ(o.status, 2) << command[0];
      EXPECT_EQ(o.err, "frieze: error: no rewrite '" + std::string(name) + "': there are 'batch norm into weights', '" + kShortcut +
                           "', '" + kPhases + "'\n");
      EXPECT_EQ(o.out, "");
    }
  }
}

TEST(Rewrites, CommandsTakeTheOption) {
  const TempFolder folder;
  const std::string photo = source_path("tests/data/chelsea.png"), out = folder.file("out.png");
  const std::vector<std::vector<std::string>> commands = {
      {"run", "quickstart", "--in", photo, "--out", out},
      {"verify", "quickstart", "--size", "16x16"},
      {"bench", "quickstart", "--size", "16x16", "--rounds", "1"},
      {"profile", "quickstart", "--size", "16x16", "--rounds", "1"},
  };
  for (std::vector<std::string> command : commands) {
    command.insert(command.end(), {"--device", "cpu", "--no-rewrite", kShortcut, "--no-rewrite", "batch norm into weights"});
    const Outcome o = run_frieze(command);
    EXPECT_EQ(o.status, 0) << command[0] << ": " << o.err;
  }
}

TEST(Rewrites, ThePageShowsThemWithTheirProof) {
  const TempFolder folder;
  const std::string page = folder.file("page.html");
  const Outcome o = run_frieze(on_model("profile", {"--rounds", "1", "--html", page, "--verify"}));
  ASSERT_EQ(o.status, 0) << o.err;
  const std::string html = slurp(page);
  EXPECT_NE(html.find("<h2 id=rewrites>Rewrites</h2>"), std::string::npos);
  EXPECT_NE(html.find(kPhases + "</td><td class=\"n\">3</td><td class=\"n\">"), std::string::npos);
  EXPECT_NE(html.find("from the same inputs, in the reference."), std::string::npos);
}

}  // namespace
}  // namespace frieze::test

// Names from outside never reach a terminal as they are: every command, with names that would move the cursor, change colours or turn the
// direction of writing, on standard output and standard error; and JSON stays JSON.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>

#include "tools/command.h"
#include "tools/frieze/json.h"
#include "tools/frieze/outputs.h"
#include "tools/image/image.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

const std::string kPhoto = source_path("tests/data/chelsea.png");

// Escape sequences, C1 as a code point and as a byte, marks that turn the direction, separators, an invalid byte.
const std::string kHostile[] = {"a\x1b[31mb",
                                "a\x1b]0;title\x07"
                                "b",
                                "a\nb", "a\rb", "a\tb",
                                "a\x7f"
                                "b",
                                "a\xC2\x9B"
                                "31mb",
                                "a\x9b"
                                "31mb",
                                "a\xD8\x9C"
                                "b",
                                "a\xE2\x80\x8E"
                                "b",
                                "a\xE2\x80\xAE"
                                "gnp",
                                "a\xE2\x81\xA6"
                                "b",
                                "a\xE2\x80\xA8"
                                "b",
                                "a\xff\xfe"
                                "b",
                                // What nobody sees: no width, a mark of the byte order, a soft hyphen, tags.
                                "a\xE2\x80\x8B"
                                "b",
                                "a\xE2\x81\xA0"
                                "b",
                                "a\xEF\xBB\xBF"
                                "b",
                                "a\xC2\xAD"
                                "b",
                                "a\xF3\xA0\x81\x81"
                                "b",
                                "a\xC3"};

// Printable UTF-8 in lines.
void expect_clean(const std::string& text, const std::string& where) {
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string line = text.substr(from, end - from);
    EXPECT_EQ(printable(line, std::string::npos), line) << where;
    from = end + 1;
  }
}

class Names : public ::testing::Test {
 protected:
  void expect_clean_run(const std::vector<std::string>& arguments, int status) {
    const Outcome outcome = run_frieze(arguments);
    const std::string where = arguments[0] + ": " + printable(outcome.out + outcome.err, 500);
    EXPECT_EQ(outcome.status, status) << where;
    expect_clean(outcome.out, where);
    expect_clean(outcome.err, where);
    if (status == 2) {
      EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << where;
    }
    if (status == 0 && std::find(arguments.begin(), arguments.end(), "--json") != arguments.end()) {
      std::size_t from = 0;  // an object for all, or one a line
      if (!nlohmann::json::accept(outcome.out)) {
        for (std::size_t end; from < outcome.out.size(); from = end + 1) {
          end = outcome.out.find('\n', from);
          EXPECT_TRUE(nlohmann::json::accept(outcome.out.substr(from, end - from))) << where;
        }
      }
    }
  }
  TempFolder folder;
};

TEST_F(Names, OfFilesThatAreThere) {
  for (const std::string& name : kHostile) {
    const std::string in = folder.file(name + ".png"), out = folder.file("out" + name + ".png");
    tools::write_image(in, {16, 16, 3, std::vector<float>(16 * 16 * 3, 0.5F)});
    expect_clean_run({"noise", in, "-o", out}, 0);
    expect_clean_run({"compare", in, in, out}, 0);
    expect_clean_run({"compare", in, in, "--json"}, 0);
    expect_clean_run({"denoise", in, "-o", out, "--device", "cpu", "--json"}, 0);
    expect_clean_run({"run", "quickstart", "--device", "cpu", "--in", in, "--out", out}, 0);
    expect_clean_run({"run", "quickstart", "--device", "cpu", "--in", in, "--out", out, "--json"}, 0);
    expect_clean_run({"profile", "quickstart", "--device", "cpu", "--rounds", "1", "--in", in, "--html", folder.file("p" + name)}, 0);
    save(folder.file("x" + name), {{"x", {Shape{2}, DType::f32, {1, 2}}}});
    expect_clean_run({"op", "silu", "--in", folder.file("x" + name), "--out", folder.file("y" + name)}, 0);
  }
}

TEST_F(Names, OfFilesAndOptionsThatAreWrong) {
  for (const std::string& name : kHostile) {
    const std::string absent = folder.file("no" + name + ".png"), out = folder.file("out.png");
    expect_clean_run({"noise", absent, "-o", out}, 2);
    expect_clean_run({"compare", absent, absent}, 2);
    expect_clean_run({"denoise", absent, "-o", out}, 2);
    expect_clean_run({"run", "quickstart", "--in", absent, "--out", out}, 2);
    expect_clean_run({"run", "quickstart", "--in", kPhoto, "--out", folder.file(name + "/out.png")}, 2);
    expect_clean_run({"run", "quickstart", "--in", kPhoto, "--out", out, "--weights", absent}, 2);
    expect_clean_run({"verify", "quickstart", "--weights", absent}, 2);
    expect_clean_run({"profile", "quickstart", "--html", folder.file(name + "/x")}, 2);
    expect_clean_run({"op", "silu", "--in", absent, "--out", out}, 2);
    expect_clean_run({"vae", "encode", "--model", absent, "--in", kPhoto, "--out", folder.file("z.safetensors")}, 2);
    expect_clean_run({"vae", "encode", "--model", name, "--in", absent, "--out", folder.file("z.safetensors")}, 2);
    // The text of arguments, also in messages of the library that parses them.
    expect_clean_run({name}, 2);
    expect_clean_run({name, "--help"}, 2);
    expect_clean_run({"--" + name}, 2);
    expect_clean_run({"inspect", name}, 2);
    expect_clean_run({"inspect", "quickstart", name}, 2);
    expect_clean_run({"inspect", "quickstart", "--" + name}, 2);
    for (const char* option : {"--dtype", "--device", "--size", "--max-memory", "--random-weights"}) {
      expect_clean_run({"inspect", "quickstart", option, name}, 2);
    }
    expect_clean_run({"inspect", "quickstart", "--json=" + name}, 2);
    expect_clean_run({"bench", "quickstart", "--rounds", name}, 2);
    expect_clean_run({"bench-op", name}, 2);
    expect_clean_run({"bench-op", "rms_norm2d", "--shapes", name}, 2);
    expect_clean_run({"op", name, "--in", "x", "--out", "y"}, 2);
    expect_clean_run({"devices", name}, 2);
    expect_clean_run({"inspect", "quickstart", "--device", "cpu", "--weights", folder.path().string(), "--variant", name}, 2);
  }
}

TEST_F(Names, OfTensorsAndFieldsInFiles) {
  for (const std::string& name : kHostile) {
    if (printable(name).find("\\xff") != std::string::npos || name.find('\x9b') == 1 || name.back() == '\xC3')
      continue;  // no tensor's name
    save(folder.file("t.safetensors"), {{"x", {Shape{2}, DType::f32, {1, 2}}}, {name, {Shape{2}, DType::f32, {1, 2}}}});
    expect_clean_run({"op", "silu", "--in", folder.file("t.safetensors"), "--out", folder.file("y.safetensors")}, 2);
    expect_clean_run({"verify", "quickstart", "--weights", folder.file("t.safetensors")}, 2);
  }
  for (const std::string& name : kHostile) {
    std::filesystem::create_directories(folder.file("model"));
    for (const std::string& config :
         {"{\"" + name + "\": 1}", "{\"_class_name\": \"" + name + "\"}", "{\"model_name\": \"" + name + "\"}"}) {
      folder.write("model/config.json", config);
      expect_clean_run({"vae", "roundtrip", "--model", folder.file("model"), "--in", kPhoto}, 2);
    }
  }
}

TEST(NamesInJson, AnyBytesMakeAStringOfPrintableText) {
  for (const std::string& name : kHostile) {
    const std::string json = tools::json_text(name);
    EXPECT_EQ(printable(json), json);
    ASSERT_TRUE(nlohmann::json::accept(json)) << json;
    if (name.find('\xff') == std::string::npos &&
        name !=
            "a\x9b"
            "31mb" &&
        name.back() != '\xC3') {
      EXPECT_EQ(nlohmann::json::parse(json).get<std::string>(), name) << "nothing is lost";
    }
  }
  EXPECT_EQ(tools::json_text("a\"b\\c\xC3\xA4\xF0\x9F\x90\x88"), "\"a\\\"b\\\\c\xC3\xA4\xF0\x9F\x90\x88\"");
  EXPECT_EQ(tools::json_text("a\xff"), "\"a\\\\xff\"");
  EXPECT_EQ(tools::json_text("\xF3\xA0\x81\x81"), "\"\\udb40\\udc41\"");
}

// As its help says, for programs that read line by line.
TEST_F(Names, DenoiseTellsAnObjectALine) {
  for (const char* name : {"a.png", "b\nc.png", "d\"e.png"}) {
    std::filesystem::create_directory(folder.file("in"));
    tools::write_image(folder.file(std::string("in/") + name), {16, 16, 3, std::vector<float>(16 * 16 * 3, 0.5F)});
  }
  const Outcome outcome = run_frieze({"denoise", folder.file("in"), "-o", folder.file("out"), "--device", "cpu", "--json"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 3) << outcome.out;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
}

TEST(NamesInReports, LinesStayAndNothingElseOfTheControls) { EXPECT_EQ(tools::printable_lines("a\nb\x1b[0m\n\n"), "a\nb\\x1b[0m\n\n"); }

}  // namespace
}  // namespace frieze::test

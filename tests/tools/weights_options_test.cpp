// --weights with --prefix, --ignore, --rename and --allow-unused, and verify --against: files of other programs on the command line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <frieze/core/weights.h>

#include "tools/command.h"

namespace frieze::test {
namespace {

std::string data(const char* name) { return source_path(std::string("tests/data/") + name); }

class WeightsOptions : public ::testing::Test {
 protected:
  using Tensors = std::map<std::string, HostTensor>;

  static Tensors tensors_of(const char* name) {
    const Weights file = Weights::open(data(name));
    Tensors tensors;
    for (const auto& [key, _] : file.tensors()) tensors.emplace(key, file.tensor(key));
    return tensors;
  }
  std::string put(const std::string& name, const Tensors& tensors) {
    save_safetensors(folder_.file(name), tensors);
    return folder_.file(name);
  }
  // The quickstart's weights as somebody else's pipeline holds them.
  std::string foreign() {
    Tensors tensors;
    for (auto& [key, tensor] : tensors_of("quickstart.safetensors")) {
      std::string name = "net." + key;
      if (const std::size_t at = name.find(".norm.weight"); at != std::string::npos) name.replace(at, 12, ".norm.gamma_");
      tensors.emplace(std::move(name), std::move(tensor));
    }
    tensors.emplace("net.step", HostTensor({Shape{}}, std::vector<float>{7}));
    tensors.emplace("other.weight", HostTensor({Shape{3}}, std::vector<float>{1, 2, 3}));
    return put("foreign.safetensors", tensors);
  }
  Outcome against(const std::string& weights, const std::string& outputs, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"verify", "quickstart", "--device", "cpu", "--weights", weights, "--against", outputs};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_frieze(arguments);
  }
  TempFolder folder_;
};

TEST_F(WeightsOptions, VerifyAgainstPyTorchsOutputs) {
  const Outcome right = against(data("quickstart.safetensors"), data("quickstart_outputs.safetensors"));
  EXPECT_EQ(right.status, 0) << right.err << right.out;
  EXPECT_NE(right.out.find("inputs from the file: x"), std::string::npos) << right.out;
  EXPECT_NE(right.out.find("[1,3,24,32] f32"), std::string::npos) << "the file's shapes, not --size's: " << right.out;
  for (const char* dtype : {"f16", "bf16"}) {
    const Outcome half = against(data("quickstart.safetensors"), data("quickstart_outputs.safetensors"), {"--dtype", dtype});
    EXPECT_EQ(half.status, 0) << half.err << half.out;
  }
  // The model's own weights make something else of it.
  const Outcome wrong = run_frieze({"verify", "quickstart", "--device", "cpu", "--against", data("quickstart_outputs.safetensors")});
  EXPECT_EQ(wrong.status, 1) << wrong.err;
  EXPECT_NE(wrong.out.find("verify: FAILED"), std::string::npos);
  const Outcome wide =
      run_frieze({"verify", "quickstart", "--device", "cpu", "--against", data("quickstart_outputs.safetensors"), "--tolerance", "1e3"});
  EXPECT_EQ(wide.status, 0) << wide.out;
}

TEST_F(WeightsOptions, AgainstAsJsonAndAsAPage) {
  const std::string html = folder_.file("page.html");
  const Outcome json = against(data("quickstart.safetensors"), data("quickstart_outputs.safetensors"), {"--json", "--html", html});
  ASSERT_EQ(json.status, 0) << json.err;
  const auto report = nlohmann::json::parse(json.out);
  EXPECT_EQ(report.at("report").at("ok"), true);
  EXPECT_EQ(report.at("report").at("outputs").at(0).at("name"), "y");
  EXPECT_LE(report.at("report").at("outputs").at(0).at("share"), 1);
  const std::string page = slurp(html);
  EXPECT_NE(page.find("id=against"), std::string::npos);
  EXPECT_NE(page.find("id=memory"), std::string::npos);
  // Layer by layer, on a page too; a failure writes it as well.
  EXPECT_EQ(run_frieze({"verify", "quickstart", "--device", "cpu", "--size", "16x8", "--html", html}).status, 0);
  EXPECT_NE(slurp(html).find("id=budget"), std::string::npos);
  EXPECT_EQ(
      run_frieze({"verify", "quickstart", "--device", "cpu", "--against", data("quickstart_outputs.safetensors"), "--html", html}).status,
      1);
  EXPECT_NE(slurp(html).find("Verification failed."), std::string::npos);
}

TEST_F(WeightsOptions, FilesThatDoNotFitAreOneLineAndStatusTwo) {
  const auto refused = [&](const std::string& name, const Tensors& tensors, const std::string& part) {
    const Outcome outcome = against(data("quickstart.safetensors"), put(name, tensors));
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  };
  Tensors tensors = tensors_of("quickstart_outputs.safetensors");
  const HostTensor y({Shape{1, 3, 24, 33}}, std::vector<float>(3 * 24 * 33));
  tensors.insert_or_assign("y", HostTensor(y.spec(), y.floats()));
  refused("shape", tensors, "tensor 'y' is [1,3,24,33], the model's output [1,3,24,32]");
  tensors.erase("y");
  refused("missing", tensors, "no tensor 'y' for the model's output [1,3,24,32]");
  tensors.emplace("y", HostTensor({Shape{1, 3, 24, 32}}, std::vector<float>(3 * 24 * 32, NAN)));
  refused("nan", tensors, "tensor 'y': 2304 of 2304 values are NaN or Inf");
  tensors = tensors_of("quickstart_outputs.safetensors");
  tensors.emplace("z", HostTensor({Shape{1}}, std::vector<float>{0}));
  refused("more", tensors, "tensor 'z' [1] is neither an input nor an output of the model, which has 'x', 'y'");
  tensors = tensors_of("quickstart_outputs.safetensors");
  tensors.insert_or_assign("x", HostTensor({Shape{3, 4}}, std::vector<float>(12)));
  refused("rank", tensors, "[3,4]");
  tensors.erase("x");
  refused("input", tensors, "no tensor 'x' for the model's input");
  folder_.write("junk", std::string("not a checkpoint"));
  EXPECT_EQ(against(data("quickstart.safetensors"), folder_.file("junk")).status, 2);
  EXPECT_EQ(against(data("quickstart.safetensors"), folder_.file("nowhere")).status, 2);
  EXPECT_EQ(against(data("quickstart.safetensors"), data("quickstart_outputs.safetensors"), {"--tolerance", "-1"}).status, 2);
  EXPECT_EQ(run_frieze({"verify", "quickstart", "--tolerance", "1"}).status, 2) << "without --against";
  EXPECT_EQ(against(data("quickstart.safetensors"), data("quickstart_outputs.safetensors"), {"--rewrites"}).status, 2) << "no layers";
}

TEST_F(WeightsOptions, APictureMayBeTheInput) {
  const std::string photo = data("chelsea.png");
  Tensors tensors;
  tensors.emplace("y", HostTensor({Shape{1, 3, 300, 451}}, std::vector<float>(3 * 300 * 451)));
  const Outcome outcome =
      run_frieze({"verify", "quickstart", "--device", "cpu", "--in", photo, "--against", put("y", tensors), "--tolerance", "0.001"});
  EXPECT_EQ(outcome.status, 1) << outcome.err << "all zero is far from a sharpened cat";
  tensors.emplace("x", HostTensor({Shape{1, 3, 300, 451}}, std::vector<float>(3 * 300 * 451)));
  const Outcome both = run_frieze({"verify", "quickstart", "--device", "cpu", "--in", photo, "--against", put("xy", tensors)});
  EXPECT_EQ(both.status, 2);
  EXPECT_NE(both.err.find("tensor 'x' is an input that is given otherwise"), std::string::npos) << both.err;
}

TEST_F(WeightsOptions, PrefixIgnoreAndRenameMakeAFileFit) {
  const std::string outputs = data("quickstart_outputs.safetensors"), file = foreign();
  const Outcome right = against(file, outputs, {"--prefix", "net", "--ignore", "st?p", "--rename", "*.gamma_=*.weight"});
  EXPECT_EQ(right.status, 0) << right.err << right.out;
  const Outcome allowed = against(file, outputs, {"--prefix", "net.", "--allow-unused", "--rename", "*.gamma_=*.weight"});
  EXPECT_EQ(allowed.status, 0) << allowed.err << allowed.out;
  const Outcome plain = against(file, outputs, {"--prefix", "net"});
  EXPECT_EQ(plain.status, 2);
  EXPECT_NE(plain.err.find("no tensor for 2 of the model's"), std::string::npos) << plain.err;
  EXPECT_NE(
      plain.err.find(
          "'blocks.0.norm.weight' (or 'blocks.0.norm.gamma', or 'blocks.0.norm.g') [16], nearest unused name 'blocks.0.norm.gamma_' [16]"),
      std::string::npos)
      << plain.err;
  EXPECT_NE(plain.err.find("no parameter for 3 of 15 tensors"), std::string::npos) << plain.err;
  for (const char* command : {"inspect", "bench"}) {
    const Outcome outcome = run_frieze({command, "quickstart", "--device", "cpu", "--size", "8x8", "--weights", file, "--prefix", "net",
                                        "--ignore", "step", "--rename", "*.gamma_=*.weight"});
    EXPECT_EQ(outcome.status, 0) << command << ": " << outcome.err;
  }
}

TEST_F(WeightsOptions, WrongOptionsAreToldApart) {
  const std::string file = foreign();
  const auto error = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"inspect", "quickstart", "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_frieze(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_EQ(outcome.out, "");
    return outcome.err;
  };
  EXPECT_NE(error({"--prefix", "net"}).find("--weights"), std::string::npos);
  EXPECT_NE(error({"--ignore", "net"}).find("--weights"), std::string::npos);
  EXPECT_NE(error({"--rename", "a=b"}).find("--weights"), std::string::npos);
  EXPECT_NE(error({"--allow-unused"}).find("--weights"), std::string::npos);
  EXPECT_NE(error({"--weights", file, "--rename", "a"}).find("--rename: expected FROM=TO, got 'a'"), std::string::npos);
  EXPECT_NE(error({"--weights", file, "--rename", "=b"}).find("--rename: expected FROM=TO, got '=b'"), std::string::npos);
  EXPECT_NE(error({"--weights", file, "--rename", "a.*=*.*"}).find("'*.*' has more wildcards than 'a.*'"), std::string::npos);
  EXPECT_NE(error({"--weights", file, "--prefix", "vae"})
                .find("no tensor's name begins with the prefix 'vae.': the names begin with 'net', 'other'"),
            std::string::npos);
  const Outcome dcae = run_frieze({"inspect", "dcae-decoder:f32c32-sana-1.0", "--random-weights", "1", "--prefix", "x"});
  EXPECT_EQ(dcae.status, 2);
}

}  // namespace
}  // namespace frieze::test

// Checkpoints as people have them: recognised, or told what they are and what to do.
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include <frieze/core/weights.h>

#include "support/sanitizers.h"
#include "tools/command.h"
#include "tools/image/image.h"
#include "tools/shell.h"
#include "tools/tensor_file.h"

namespace frieze::test {
namespace {

namespace fs = std::filesystem;

const std::string kLite = source_path("tests/golden/dc_ae/lite/"), kSana = source_path("tests/golden/dc_ae/sana/");
const std::string kFile = "diffusion_pytorch_model.safetensors";

class Checkpoints : public ::testing::Test {
 protected:
  void SetUp() override { tools::write_image(folder.file("p.png"), {32, 32, 3, std::vector<float>(32 * 32 * 3, 0.5F)}); }
  Outcome roundtrip(const std::string& model, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"vae", "roundtrip", "--device", "cpu", "--model", model, "--in", folder.file("p.png")};
    all.insert(all.end(), more.begin(), more.end());
    return run_frieze(all);
  }
  void expect_works(const std::string& model, const std::vector<std::string>& more = {}) {
    const Outcome outcome = roundtrip(model, more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    const Outcome inspected = run_frieze([&] {
      std::vector<std::string> all = {"inspect", "dcae:" + model, "--device", "cpu", "--size", "32x32"};
      all.insert(all.end(), more.begin(), more.end());
      return all;
    }());
    EXPECT_EQ(inspected.status, 0) << inspected.err;
  }
  void expect_refusal(const std::string& model, const std::string& says, const std::vector<std::string>& more = {}) {
    const Outcome outcome = roundtrip(model, more);
    EXPECT_EQ(outcome.status, 2) << says;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(says), std::string::npos) << "expected '" << says << "' in: " << outcome.err;
  }
  // A folder with the config of a golden model, to be filled.
  std::string with_config(const std::string& name, const std::string& from = kLite) {
    const std::string to = folder.file(name);
    fs::create_directories(to);
    fs::copy_file(from + "config.json", to + "/config.json");
    return to + "/";
  }
  // The golden weights under other names.
  void save_renamed(const std::string& to, const std::function<std::string(const std::string&)>& rename) {
    const Weights from = Weights::open(kLite + kFile);
    RawTensors tensors;
    for (const auto& [key, t] : from.tensors()) {
      if (t.dtype != "I64") tensors[rename(key)] = {t.shape, DType::f32, from.floats(key)};
    }
    save(to, tensors);
  }
  TempFolder folder;
};

TEST_F(Checkpoints, AnIndexNamedWithItsVariant) {
  const std::string model = with_config("model", kSana);
  nlohmann::json index = nlohmann::json::parse(slurp(kSana + kFile + ".index.json"));
  for (int i = 1; i <= 4; ++i) {
    const std::string end = "-0000" + std::to_string(i) + "-of-00004.safetensors";
    fs::copy_file(kSana + "diffusion_pytorch_model" + end, model + "diffusion_pytorch_model.fp16" + end);
  }
  for (auto& [tensor, shard] : index["weight_map"].items()) {
    shard = std::string(shard).replace(0, std::string("diffusion_pytorch_model").size(), "diffusion_pytorch_model.fp16");
  }
  folder.write("model/" + kFile + ".index.fp16.json", index.dump());
  expect_works(model);
  expect_works(model, {"--variant", "fp16"});
  expect_refusal(model, "no checkpoint of the variant 'bf16'", {"--variant", "bf16"});
  fs::remove(model + "diffusion_pytorch_model.fp16-00003-of-00004.safetensors");
  expect_refusal(model, "the file 'diffusion_pytorch_model.fp16-00003-of-00004.safetensors' that it lists is not there");
  fs::remove(model + kFile + ".index.fp16.json");
  expect_refusal(model, "(*.safetensors.index.json) is not there: download it too");
}

TEST_F(Checkpoints, SeveralVariantsInOneFolder) {
  const std::string model = with_config("model");
  fs::copy_file(kLite + kFile, model + "diffusion_pytorch_model.fp16.safetensors");
  fs::copy_file(kLite + kFile, model + "diffusion_pytorch_model.ema.safetensors");
  expect_refusal(model, "name one of them, or a variant");
  expect_works(model, {"--variant", "fp16"});
  folder.write("model/diffusion_pytorch_model.non_ema.safetensors", std::string("broken, and not asked for"));
  fs::copy_file(kLite + kFile, model + kFile);
  expect_works(model);  // the one without a variant
  expect_works(model + kFile);
}

TEST_F(Checkpoints, FoldersAroundTheModel) {
  fs::create_directories(folder.file("pipeline"));
  folder.write("pipeline/model_index.json", std::string(R"({"_class_name": "SanaPipeline", "vae": ["diffusers", "AutoencoderDC"]})"));
  expect_refusal(folder.file("pipeline"), "a pipeline without a folder vae");
  with_config("pipeline/vae");
  fs::copy_file(kLite + kFile, folder.file("pipeline/vae/") + kFile);
  expect_works(folder.file("pipeline"));
  expect_works(folder.file("pipeline/vae/config.json"));
  expect_works(folder.file("pipeline/model_index.json"));

  // Hugging Face's cache: links into a folder of blobs, below a snapshot's name.
  const std::string cache = folder.file("models--mit-han-lab--dc-ae");
  fs::create_directories(cache + "/blobs");
  fs::create_directories(cache + "/snapshots/1234");
  fs::copy_file(kLite + kFile, cache + "/blobs/aa");
  fs::copy_file(kLite + "config.json", cache + "/blobs/bb");
  fs::create_symlink("../../blobs/aa", cache + "/snapshots/1234/" + kFile);
  fs::create_symlink("../../blobs/bb", cache + "/snapshots/1234/config.json");
  expect_works(cache);
  fs::create_directories(cache + "/snapshots/5678");
  expect_refusal(cache, "2 snapshots, and refs/main names none of them");
  fs::create_directories(cache + "/refs");
  folder.write("models--mit-han-lab--dc-ae/refs/main", std::string("1234\n"));
  expect_works(cache);
  fs::remove(cache + "/blobs/aa");
  EXPECT_EQ(roundtrip(cache).status, 2);

  fs::create_directories(folder.file("empty"));
  expect_refusal(folder.file("empty"), "no config.json in this folder");
}

TEST_F(Checkpoints, ASingleFile) {
  const std::string model = with_config("model");
  fs::copy_file(kLite + kFile, model + "renamed.safetensors");
  expect_works(model + "renamed.safetensors");
  fs::create_directories(folder.file("alone"));
  fs::copy_file(kLite + kFile, folder.file("alone/w.safetensors"));
  expect_refusal(folder.file("alone/w.safetensors"), "needs the config.json of its folder");
  expect_works(model, {"--weights", folder.file("alone/w.safetensors")});
  expect_works(model, {"--weights", folder.file("alone")});
}

TEST_F(Checkpoints, PrefixesThatAllNamesShare) {
  const std::string model = with_config("model");
  for (const std::string prefix : {"model.", "module.", "vae.", "first_stage_model.", "_orig_mod.", "module._orig_mod."}) {
    save_renamed(model + kFile, [&](const std::string& key) { return prefix + key; });
    expect_works(model);
  }
  // Not of all: then it is the name's own.
  save_renamed(model + kFile, [](const std::string& key) { return key.starts_with("encoder.") ? "vae." + key : key; });
  EXPECT_EQ(roundtrip(model).status, 2);
  // The same for models of other commands.
  const std::string weights = folder.file("w.safetensors");
  const Outcome wrong = run_frieze({"inspect", "quickstart", "--device", "cpu", "--weights", weights});
  EXPECT_EQ(wrong.status, 2);
}

TEST_F(Checkpoints, OtherFilesAreNamedForWhatTheyAre) {
  const std::string model = with_config("model");
  const std::pair<std::string, const char*> kinds[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5368709120\n",
       "is a Git LFS pointer, which stands for the file: run 'git lfs pull'"},
      {"<!DOCTYPE html>\n<html><body>Log in</body></html>", "is a web page that was saved instead of the weights"},
      {"\n  <html lang=\"en\">", "is a web page"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "is a web page"},
      {"{\"error\": \"Repository not found\"}", "is JSON text, not weights"},
      {std::string("PK\3\4\0\0\0\0\0\0", 10), "is a zip archive, as PyTorch's .bin, .pt, .pth and .ckpt files are: convert it"},
      {std::string("\x80\x02}q\0", 5), "is a Python pickle"},
      {std::string("GGUF\3\0\0\0", 8), "is a GGUF file"},
      {std::string("\x1f\x8b\x08\0\0\0\0\0\0\3", 10), "is a compressed file: unpack it first"},
      {"\x89PNG\r\n\x1a\n", "is a picture, not weights"},
      {"Entry not found", "is text that begins with 'Entry not found'"},
      {"# xet version 0\nfilesize = 5368709120\n", "is text that begins with '# xet version 0"},
      {"/annex/objects/SHA256E-s5368709120--4d7a.safetensors\n", "or a pointer to a file that is elsewhere"},
      {"vae/" + std::string(253, '\0') + "ustar  ", "is a tar archive: unpack it first"},
      {"", "is empty: the download did not finish"},
  };
  for (const auto& [bytes, says] : kinds) {
    folder.write("model/" + kFile, bytes);
    expect_refusal(model, says);
    const Outcome other = run_frieze({"inspect", "quickstart", "--device", "cpu", "--weights", model + kFile});
    EXPECT_EQ(other.status, 2);
    EXPECT_NE(other.err.find(says), std::string::npos) << other.err;
  }
  fs::remove(model + kFile);
  for (const char* name : {"diffusion_pytorch_model.bin", "model.ckpt", "x.pth", "y.gguf"}) {
    folder.write(std::string("model/") + name, std::string("PK\3\4"));
    expect_refusal(model, std::string("got ") + name);
    fs::remove(model + name);
  }
  for (const char* ending : {".incomplete", ".part", ".crdownload"}) {
    folder.write("model/" + kFile + ending, std::string("x"));
    expect_refusal(model, kFile + ending + ": its download did not finish");
    fs::remove(model + kFile + ending);
  }
  const std::string whole = slurp(kLite + kFile);
  folder.write("model/" + kFile, whole.substr(0, whole.size() - 1));
  expect_refusal(model, "the file is cut off");
  fs::remove(model + kFile);
  folder.write("model/config.json", std::string("version https://git-lfs.github.com/spec/v1\n"));
  expect_refusal(model, "config.json: is a Git LFS pointer");
  folder.write("model/config.json", std::string(R"({"_class_name": "AutoencoderKL", "in_channels": 3})"));
  expect_refusal(model, "expected AutoencoderDC, got 'AutoencoderKL'");
  folder.write("model/config.json", std::string(R"({"architectures": ["Gemma2ForCausalLM"], "hidden_size": 2304})"));
  expect_refusal(model, R"(the config of another model, architectures ["Gemma2ForCausalLM"])");
}

// A small file that claims a large model is refused before memory is taken: within a limit of address space that the model would burst.
TEST_F(Checkpoints, AConfigThatClaimsTooMuchIsRefusedAtOnce) {
  const std::string limit = kSanitized ? "" : "ulimit -d 100000; ";
  const std::string model = with_config("model");
  fs::copy_file(kLite + kFile, model + kFile);
  const auto with_widths = [&](int width, int depth) {
    nlohmann::json config = nlohmann::json::parse(slurp(kLite + "config.json"));
    for (const char* side : {"encoder", "decoder"}) {
      for (auto& w : config[std::string(side) + "_block_out_channels"]) w = width;
      auto& layers = config[std::string(side) + "_layers_per_block"];
      for (std::size_t i = 0; i < layers.size(); ++i) layers[i] = depth;
    }
    folder.write("model/config.json", config.dump());
  };
  struct Shape {
    int width, depth;
  };
  for (const Shape shape : {Shape{4096, 3}, Shape{65536, 3}, Shape{4096, 256}, Shape{32, 256}}) {
    with_widths(shape.width, shape.depth);
    for (const std::string& command : {"vae roundtrip --device cpu --in " + quoted(folder.file("p.png")) + " --model " + quoted(model),
                                       "inspect --device cpu --size 32x32 " + quoted("dcae:" + model),
                                       "inspect --device cpu --size 32x32 " + quoted("dcae-decoder:" + model)}) {
      const auto start = std::chrono::steady_clock::now();
      const Outcome outcome = shell(limit + quoted(frieze_program()) + " " + command);
      EXPECT_EQ(outcome.status, 2) << command;
      EXPECT_NE(outcome.err.find("tensor"), std::string::npos) << outcome.err;
      EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 10) << "with room for a busy machine";
    }
  }
  with_widths(65536, 256);
  const Outcome random = shell(limit + quoted(frieze_program()) + " inspect --device cpu --random-weights 1 " + quoted("dcae:" + model));
  EXPECT_EQ(random.status, 2);
  EXPECT_NE(random.err.find("this machine has"), std::string::npos) << random.err;
}

TEST_F(Checkpoints, PipesDoNotHang) {
  const std::string model = with_config("model");
  ASSERT_EQ(::mkfifo((model + kFile).c_str(), 0600), 0);
  expect_refusal(model, "expected a regular file");
  fs::remove(model + kFile);
  fs::create_symlink("/dev/zero", model + kFile);
  expect_refusal(model, "expected a regular file");
  fs::remove(model + "config.json");
  ASSERT_EQ(::mkfifo((model + "config.json").c_str(), 0600), 0);
  expect_refusal(model, "config.json: ");
  ASSERT_EQ(::mkfifo((folder.file("x.safetensors")).c_str(), 0600), 0);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"op", "silu", "--in", folder.file("x.safetensors"), "--out", folder.file("y.safetensors")},
           {"inspect", "quickstart", "--weights", folder.file("x.safetensors")},
           {"vae", "decode", "--model", kLite, "--in", folder.file("x.safetensors"), "--out", folder.file("y.png")}}) {
    EXPECT_EQ(run_frieze(arguments).status, 2) << arguments[0];
  }
}

}  // namespace
}  // namespace frieze::test

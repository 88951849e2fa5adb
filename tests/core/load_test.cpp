#include <frieze/core/load.h>

#include <gtest/gtest.h>

#include <frieze/core/error.h>
#include <frieze/core/module_list.h>

#include "core/files.h"
#include "support/reference.h"

namespace frieze::test {
namespace {

// A leaf with two parameters, "weight" [2,3] (also known as "gamma", also in shapes with ones) and "bias" [2].
struct LoadedLeaf : Module {
  Parameter weight, bias;
  LoadedLeaf() {
    add_parameter(weight, "weight", {2, 3}, Init::fan_in(4));
    weight.aliases = {"gamma", "scale"};
    weight.squeeze = true;
    add_parameter(bias, "bias", {2}, Init::around(1, 0.25));
  }
};

struct LoadedBlock : Module {
  LoadedLeaf first, second;
  LoadedBlock() { add("first", first), add("second", second); }
};

struct LoadedRoot : Module {  // lets tests call what subclasses call
  using Module::add;
};

class Load : public Files {
 protected:
  static std::map<std::string, HostTensor> full() {
    LoadedBlock source;
    init_random(source, 3);
    std::map<std::string, HostTensor> tensors;
    source.visit_parameters([&](const std::string& key, Parameter& p) { tensors.emplace(key, HostTensor({p.shape}, p.values)); });
    return tensors;
  }
  static void put_tensor(std::map<std::string, HostTensor>& tensors, const std::string& name, const Shape& shape) {
    tensors.insert_or_assign(name, HostTensor({shape}, std::vector<float>(static_cast<std::size_t>(shape.elements()), 0.5F)));
  }
  std::string refused_load(const std::map<std::string, HostTensor>& tensors, const LoadOptions& options = {}) {
    init_random(block_, 9);
    const std::vector<float> before = block_.first.weight.values;
    save_safetensors(folder_ / "m", tensors);
    std::string message = message_of<WeightsError>([&] { load(block_, Weights::open(folder_ / "m"), options); });
    EXPECT_EQ(block_.first.weight.values, before) << "an error leaves the module as it was";
    const std::string file = (folder_ / "m").string();
    EXPECT_EQ(message.find(file), 0U) << message;
    const std::size_t end = message.find(": ", file.size());  // behind a note such as " (below 'vae.')"
    return end == std::string::npos ? message : message.substr(end + 2);
  }
  LoadedBlock block_;
};

TEST_F(Load, FillsEveryParameter) {
  LoadedBlock expected;
  init_random(expected, 3);
  save_safetensors(folder_ / "m", full());
  load(block_, Weights::open(folder_ / "m"));
  EXPECT_EQ(block_.first.weight.values, expected.first.weight.values);
  EXPECT_EQ(block_.second.bias.values, expected.second.bias.values);
}

TEST_F(Load, AMissingTensorIsNamedWithItsOtherNames) {
  auto tensors = full();
  tensors.erase("second.weight");
  EXPECT_EQ(refused_load(tensors),
            "no tensor for 1 of the model's 4 parameters: 'second.weight' (or 'second.gamma', or 'second.scale') [2,3]");
  tensors = full();
  tensors.erase("second.bias");
  EXPECT_EQ(refused_load(tensors), "no tensor for 1 of the model's 4 parameters: 'second.bias' [2]");
}

TEST_F(Load, ATensorOfNobodyIsNamed) {
  auto tensors = full();
  put_tensor(tensors, "third\n.weight", {1});
  EXPECT_EQ(refused_load(tensors), "no parameter for 1 of 5 tensors: 'third\\x0a.weight' [1]");
}

TEST_F(Load, AWrongShapeIsNamedWithWhatWasExpected) {
  auto tensors = full();
  put_tensor(tensors, "first.bias", {1, 2});
  EXPECT_EQ(refused_load(tensors), "another shape than the parameter's in 1 of 4 tensors: 'first.bias' is [1,2], expected [2]")
      << "no squeeze asked for";
  tensors = full();
  put_tensor(tensors, "first.weight", {3, 2});
  EXPECT_EQ(refused_load(tensors), "another shape than the parameter's in 1 of 4 tensors: 'first.weight' is [3,2], expected [2,3]");
}

TEST_F(Load, AnAliasFillsTheParameter) {
  auto tensors = full();
  tensors.erase("first.weight");
  put_tensor(tensors, "first.scale", {2, 3});
  save_safetensors(folder_ / "m", tensors);
  load(block_, Weights::open(folder_ / "m"));
  EXPECT_EQ(block_.first.weight.values, std::vector<float>(6, 0.5F));
  put_tensor(tensors, "first.gamma", {2, 3});
  EXPECT_EQ(refused_load(tensors), "both 'first.gamma' and 'first.scale' are there for the parameter 'first.weight'");
}

TEST_F(Load, ATensorFillsOneParameterOnly) {
  auto tensors = full();
  LoadedRoot root;
  LoadedLeaf leaf;
  leaf.bias.aliases = {"weight"};
  tensors.clear();
  put_tensor(tensors, "weight", {2, 3});
  save_safetensors(folder_ / "m", tensors);
  const Shape shape = leaf.bias.shape;
  leaf.bias.shape = {2, 3};
  EXPECT_EQ(message_of<WeightsError>([&] { load(leaf, Weights::open(folder_ / "m")); }),
            (folder_ / "m").string() + ": tensor 'weight' would fill both 'weight' and 'bias'");
  leaf.bias.shape = shape;
}

TEST_F(Load, SqueezeAcceptsExtentsOfOne) {
  auto tensors = full();
  put_tensor(tensors, "first.weight", {2, 1, 3, 1, 1});
  save_safetensors(folder_ / "m", tensors);
  load(block_, Weights::open(folder_ / "m"));
  EXPECT_EQ(block_.first.weight.values, std::vector<float>(6, 0.5F));
  put_tensor(tensors, "first.weight", {6, 1});
  EXPECT_EQ(refused_load(tensors), "another shape than the parameter's in 1 of 4 tensors: 'first.weight' is [6,1], expected [2,3]");
}

TEST_F(Load, HalfPrecisionIsWidenedAndIntegersAreRefused) {
  auto tensors = full();
  tensors.insert_or_assign("first.bias", HostTensor({{2}, DType::bf16}, std::vector<float>{1.5F, -2}));
  save_safetensors(folder_ / "m", tensors);
  load(block_, Weights::open(folder_ / "m"));
  EXPECT_EQ(block_.first.bias.values, (std::vector<float>{1.5F, -2}));

  LoadedLeaf leaf;
  const fs::path path = put("i", file_of(R"({"bias":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},
                                            "weight":{"dtype":"F32","shape":[2,3],"data_offsets":[16,40]}})",
                                         40));
  EXPECT_EQ(message_of<WeightsError>([&] { load(leaf, Weights::open(path)); }),
            path.string() + ": tensor 'bias': dtype: got I64, expected F32, F16, BF16 or F64");
}

// The file of full() under other names.
std::map<std::string, HostTensor> named(std::map<std::string, HostTensor> tensors, const std::function<std::string(std::string)>& name) {
  std::map<std::string, HostTensor> out;
  for (auto& [key, tensor] : tensors) out.emplace(name(key), std::move(tensor));
  return out;
}

class LoadWith : public Load {
 protected:
  // Loads, and checks that the parameters are those of full().
  void expect_loaded(const std::map<std::string, HostTensor>& tensors, const LoadOptions& options) {
    LoadedBlock expected, block;
    init_random(expected, 3);
    save_safetensors(folder_ / "m", tensors);
    load(block, Weights::open(folder_ / "m"), options);
    EXPECT_EQ(block.first.weight.values, expected.first.weight.values);
    EXPECT_EQ(block.first.bias.values, expected.first.bias.values);
    EXPECT_EQ(block.second.weight.values, expected.second.weight.values);
    EXPECT_EQ(block.second.bias.values, expected.second.bias.values);
  }
};

TEST_F(LoadWith, APrefixLooksAtItsTensorsAlone) {
  auto tensors = named(full(), [](const std::string& key) { return "pipe.vae." + key; });
  put_tensor(tensors, "pipe.unet.weight", {7});
  put_tensor(tensors, "pipe.vaeX.first.weight", {7});
  expect_loaded(tensors, {.prefix = "pipe.vae"});
  expect_loaded(tensors, {.prefix = "pipe.vae."});
  EXPECT_EQ(refused_load(tensors, {.prefix = "vae"}), "no tensor's name begins with the prefix 'vae.': the names begin with 'pipe'");
  EXPECT_EQ(refused_load(tensors, {.prefix = "pipe.va"}),
            "no tensor's name begins with the prefix 'pipe.va.': the names begin with 'pipe'");
}

TEST_F(LoadWith, AnExplicitPrefixTurnsTheAutomaticOneOff) {
  auto tensors = named(full(), [](const std::string& key) { return "a.b." + key; });
  expect_loaded(tensors, {});
  expect_loaded(tensors, {.prefix = "a.b"});
  EXPECT_TRUE(refused_load(tensors, {.prefix = "a"}).starts_with("no tensor for 4 of the model's 4 parameters"));
}

TEST_F(LoadWith, IgnoredTensorsAreAsIfTheyWereNotThere) {
  auto tensors = full();
  put_tensor(tensors, "first.num_batches_tracked", {});
  put_tensor(tensors, "second.deep.num_batches_tracked", {});
  expect_loaded(tensors, {.ignore = {"*.num_batches_tracked"}});
  expect_loaded(tensors, {.ignore = {"nothing.fits.this", "*.num_batches_tracked"}});
  EXPECT_EQ(refused_load(tensors),
            "no parameter for 2 of 6 tensors: 'first.num_batches_tracked' []; 'second.deep.num_batches_tracked' []. ignore "
            "'*.num_batches_tracked' leaves the counters of batch norms out");
  EXPECT_EQ(refused_load(tensors, {.ignore = {"*.num_batches_tracked", "first.bi*", "typo.*"}}),
            "no tensor for 1 of the model's 4 parameters: 'first.bias' [2], which ignore 'first.bi*' leaves out. no tensor fits: ignore "
            "'typo.*'");
  EXPECT_EQ(message_of<OptionError>([&] { load(block_, Weights::open(folder_ / "m"), {.ignore = {""}}); }),
            "load: ignore: a pattern is empty");
}

TEST_F(LoadWith, ExtraTensorsAreTakenWhenAllowed) {
  auto tensors = full();
  put_tensor(tensors, "ema.first.weight", {2, 3});
  expect_loaded(tensors, {.allow_unused = true});
  tensors.erase("first.weight");
  EXPECT_EQ(refused_load(tensors, {.allow_unused = true}),
            "no tensor for 1 of the model's 4 parameters: 'first.weight' (or 'first.gamma', or 'first.scale') [2,3], nearest unused name "
            "'ema.first.weight' [2,3]");
}

TEST_F(LoadWith, RenamesNamesPathsBeginningsAndPatterns) {
  const auto changed = [&](const std::string& from, const std::string& to) {
    return named(full(), [&](std::string key) {
      if (const std::size_t at = key.find(from); at != std::string::npos) key.replace(at, from.size(), to);
      return key;
    });
  };
  expect_loaded(changed("first.weight", "stem_w"), {.rename = {{"stem_w", "first.weight"}}});
  expect_loaded(changed("first", "stem.0"), {.rename = {{"stem.0", "first"}}});
  expect_loaded(changed("first", "x_first"), {.rename = {{"x_first.", "first."}}});
  expect_loaded(changed("first", "net.first"), {.rename = {{"net.", ""}}});
  expect_loaded(changed("first", "net.first"), {.rename = {{"net", ""}}});
  expect_loaded(changed(".bias", ".beta"), {.rename = {{"*.beta", "*.bias"}}});
  expect_loaded(changed("second.", "blocks.2."), {.rename = {{"no", "where"}, {"blocks.2.*", "second.*"}}});
}

TEST_F(LoadWith, TheFirstRuleThatAppliesIsAppliedOnce) {
  // a -> first, first -> second: a swap, not a chain.
  const auto tensors =
      named(full(), [](const std::string& key) { return key.starts_with("first.") ? "a" + key.substr(5) : "first" + key.substr(6); });
  expect_loaded(tensors, {.rename = {{"a", "first"}, {"first", "second"}, {"a", "never"}}});
}

TEST_F(LoadWith, RenameSeesNamesAfterPrefixAndIgnore) {
  auto tensors = named(full(), [](const std::string& key) { return "model.n." + key; });
  put_tensor(tensors, "model.n.first.extra", {});
  expect_loaded(tensors, {.prefix = "model", .ignore = {"n.*.extra"}, .rename = {{"n.", ""}}});
  // Without a prefix of the caller's, one that all names share goes last.
  put_tensor(tensors, "other", {});
  expect_loaded(tensors, {.ignore = {"*.extra", "other"}});
}

TEST_F(LoadWith, TwoTensorsOfOneNameAreRefused) {
  auto tensors = full();
  put_tensor(tensors, "stem.weight", {2, 3});
  EXPECT_EQ(refused_load(tensors, {.rename = {{"stem", "first"}}}),
            "tensors 'first.weight' and 'stem.weight' would both be named 'first.weight'");
  put_tensor(tensors, "trunk.weight", {2, 3});
  EXPECT_EQ(refused_load(tensors, {.rename = {{"stem.*", "new"}, {"trunk.*", "new"}}}),
            "tensors 'stem.weight' and 'trunk.weight' would both be named 'new'");
  EXPECT_EQ(refused_load(tensors, {.rename = {{"stem.", "x."}, {"trunk.weight", ""}}}),
            "rename 'trunk.weight' to '' leaves tensor 'trunk.weight' without a name");
  // An ignored one is not in the way.
  tensors.erase("trunk.weight");
  tensors.erase("first.weight");
  put_tensor(tensors, "first.weight", {9});
  save_safetensors(folder_ / "m", tensors);
  load(block_, Weights::open(folder_ / "m"), {.ignore = {"first.weight"}, .rename = {{"stem", "first"}}});
  EXPECT_EQ(block_.first.weight.values, std::vector<float>(6, 0.5F));
}

TEST_F(LoadWith, ImpossibleRulesAreRefused) {
  const Weights weights = [&] {
    save_safetensors(folder_ / "m", full());
    return Weights::open(folder_ / "m");
  }();
  EXPECT_EQ(message_of<OptionError>([&] {
              load(block_, weights, {.rename = {{"a.*", "*.*"}}});
            }),
            "load: rename: '*.*' has more wildcards than 'a.*'");
  EXPECT_EQ(message_of<OptionError>([&] { load(block_, weights, {.rename = {{"", "x"}}}); }), "load: rename: nothing is renamed to 'x'");
  EXPECT_EQ(message_of<OptionError>([&] {
              load(block_, weights, {.rename = {{"plain", "x?"}}});
            }),
            "load: rename: 'x?' has more wildcards than 'plain'");
}

TEST_F(LoadWith, AMismatchTellsAllOfItWithTheNearestNames) {
  auto tensors = full();
  tensors.erase("first.bias"), tensors.erase("second.bias");
  put_tensor(tensors, "frist.bias", {2});
  put_tensor(tensors, "unrelated", {5});
  put_tensor(tensors, "second.weight", {3, 2});
  EXPECT_EQ(
      refused_load(tensors, {.rename = {{"frist.bias", "fist.bias"}, {"gone", "x"}}}),
      "no tensor for 2 of the model's 4 parameters: 'first.bias' [2], nearest unused name 'fist.bias' [2]; 'second.bias' [2]. another "
      "shape than the parameter's in 1 of 4 tensors: 'second.weight' is [3,2], expected [2,3]. no parameter for 2 of 4 tensors: "
      "'fist.bias' (renamed from 'frist.bias') [2]; 'unrelated' [5]. no tensor fits: rename 'gone' to 'x'");
}

TEST_F(LoadWith, OfTwoNearNamesTheOneOfTheSameShapeIsTold) {
  auto tensors = full();
  tensors.erase("first.bias");
  put_tensor(tensors, "first.bia", {7});
  put_tensor(tensors, "first.bass", {2});
  EXPECT_TRUE(
      refused_load(tensors).starts_with("no tensor for 1 of the model's 4 parameters: 'first.bias' [2], nearest unused name "
                                        "'first.bass' [2]."));
}

TEST_F(LoadWith, AMessageIsBoundedAndPrintableWhateverTheFileHolds) {
  auto tensors = full();
  tensors.erase("first.bias");
  for (int i = 0; i < 300; ++i) put_tensor(tensors, std::string(900, 'n') + "\x1b[31m\n" + std::to_string(i), {1});
  const std::string text = refused_load(tensors, {.rename = {{std::string(5000, 'f'), std::string(5000, 't')}}});
  EXPECT_LT(text.size(), 2000U);
  EXPECT_NE(text.find("; and 295 more"), std::string::npos) << text;
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' '; })) << text;
}

}  // namespace
}  // namespace frieze::test

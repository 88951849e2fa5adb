/// Matrix products and attention against PyTorch: tests/golden/attention.safetensors, made by tools/golden/attention.py.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/attention/attention.h>
#include <frieze/layers/matmul/matmul.h>
#include "support/parity.h"
#include "support/paths.h"

namespace frieze {
namespace {

struct AttentionGoldenCase {
  std::string name;
  std::optional<AttentionOptions> attention = {};  // none: a MatMul
};
void PrintTo(const AttentionGoldenCase& c, std::ostream* out) { *out << c.name; }

const AttentionGoldenCase kAttentionCases[] = {
    {"attention_plain", AttentionOptions{}},
    {"attention_cross", AttentionOptions{}},
    {"attention_wide", AttentionOptions{}},
    {"attention_odd_width", AttentionOptions{}},
    {"attention_rank3", AttentionOptions{}},
    {"attention_causal", AttentionOptions{.is_causal = true}},
    {"attention_causal_more_keys", AttentionOptions{.is_causal = true}},
    {"attention_causal_more_rows", AttentionOptions{.is_causal = true}},
    {"attention_scaled", AttentionOptions{.scale = 1.7}},
    {"attention_negative_scale", AttentionOptions{.scale = -0.4}},
    {"attention_grouped", AttentionOptions{.enable_gqa = true}},
    {"attention_one_kv_head", AttentionOptions{}},
    {"attention_boolean_mask", AttentionOptions{}},
    {"attention_boolean_mask_of_keys", AttentionOptions{}},
    {"attention_added_mask", AttentionOptions{}},
    {"attention_added_mask_of_rows", AttentionOptions{}},
    {"attention_grouped_f16", AttentionOptions{.enable_gqa = true}},
    {"attention_added_mask_f16", AttentionOptions{}},
    {"attention_grouped_bf16", AttentionOptions{.enable_gqa = true}},
    {"attention_added_mask_bf16", AttentionOptions{}},
    {"matmul_matrices"},
    {"matmul_vectors"},
    {"matmul_vector_matrix"},
    {"matmul_matrix_vector"},
    {"matmul_batch"},
    {"matmul_batch_of_rows"},
    {"matmul_broadcast"},
    {"matmul_batch_vector"},
    {"matmul_vector_batch"},
    {"matmul_bf16"},
    {"matmul_f16"},
};

const Weights& attention_golden() {
  static const Weights file = Weights::open(test::source_path("tests/golden/attention.safetensors"));
  return file;
}

class AttentionGolden : public testing::TestWithParam<AttentionGoldenCase> {
 protected:
  static void expect_equal(const Device& device) {
    const AttentionGoldenCase& c = GetParam();
    std::unique_ptr<Layer> layer;
    if (c.attention) {
      layer = std::make_unique<ScaledDotProductAttention>(*c.attention);
    } else {
      layer = std::make_unique<MatMul>();
    }
    std::vector<InputSpec> inputs;
    std::vector<HostTensor> values;
    for (const char* name : {"x", "x2", "x3", "x4"}) {
      if (!attention_golden().contains(c.name + "/" + name)) continue;
      values.push_back(attention_golden().tensor(c.name + "/" + name));
      inputs.push_back({name, values.back().spec().shape, values.back().spec().dtype});
    }
    CompileOptions options;
    options.tune = false;
    Session net = compile(*layer, inputs, device, options);
    for (std::size_t i = 0; i < inputs.size(); ++i) net.input(inputs[i].name).copy_from(values[i]);
    net.poison();
    net.run();
    const HostTensor expected = attention_golden().tensor(c.name + "/y");
    ASSERT_EQ(net.output().spec().shape, expected.spec().shape);
    ASSERT_EQ(net.plan().steps.size(), 1U);
    std::vector<TensorView> views;
    for (const HostTensor& value : values) views.push_back(value.view());
    const Difference d = difference(net.output().floats(), expected.floats(), expected.spec().dtype,
                                    step_budget(net.plan(), net.plan().steps[0]), layer->typical_size(views));
    EXPECT_LE(d.share, 1) << "max abs " << d.max_abs << ", max ulp " << d.max_ulp << " at " << d.worst_index;
  }
};

TEST_P(AttentionGolden, ReferenceEqualsPyTorch) { expect_equal(Device::reference()); }

TEST_P(AttentionGolden, KernelEqualsPyTorch) {
  FRIEZE_NEEDS_GPU();
  expect_equal(Device::cuda());
}

INSTANTIATE_TEST_SUITE_P(PyTorch, AttentionGolden, testing::ValuesIn(kAttentionCases), [](const auto& info) { return info.param.name; });

TEST(AttentionGoldenFile, EveryCaseIsTested) {
  std::map<std::string, bool> tested;
  for (const AttentionGoldenCase& c : kAttentionCases) tested[c.name] = true;
  for (const auto& [name, _] : attention_golden().tensors()) EXPECT_TRUE(tested.contains(name.substr(0, name.find('/')))) << name;
}

}  // namespace
}  // namespace frieze

// A vision transformer with timm's keys, out of the library's operations.
//   vit weights.safetensors outputs.safetensors: loads, runs, compares with what PyTorch made of the same input
#include <frieze/frieze.h>

#include <iostream>

using namespace frieze;
constexpr int kSize = 32, kPatch = 8, kTokens = (kSize / kPatch) * (kSize / kPatch) + 1, kWidth = 32, kHeads = 4, kClasses = 10;

struct TwoLinears final : Module {
  Linear in, out;
  TwoLinears(const char* a, const char* b, int wide, int from) : in(kWidth, wide), out(from, kWidth) { add(a, in), add(b, out); }
};
struct Block final : Module {
  LayerNorm norm1{kWidth, {.eps = 1e-6}}, norm2{kWidth, {.eps = 1e-6}};
  TwoLinears attn{"qkv", "proj", 3 * kWidth, kWidth}, mlp{"fc1", "fc2", 4 * kWidth, 4 * kWidth};
  Block() { add("norm1", norm1), add("attn", attn), add("norm2", norm2), add("mlp", mlp); }
  Value forward(Value x) const override {
    const auto heads = chunk(transpose(reshape(attn.in(norm1(x)), {-1, kTokens, 3 * kHeads, kWidth / kHeads}), 1, 2), 3);
    x = x + attn.out(flatten(transpose(scaled_dot_product_attention(heads[0], heads[1], heads[2]), 1, 2), 2));
    return x + mlp.out(gelu(mlp.in(norm2(x))));
  }
};
struct PatchEmbed final : Module {
  Conv2d proj{3, kWidth, kPatch, {.stride = kPatch}};
  PatchEmbed() { add("proj", proj); }
  Value forward(Value x) const override { return transpose(flatten(proj(x), 2), 1, 2); }
};
struct ViT final : Module {
  PatchEmbed patch_embed;
  ModuleList<Block> blocks;
  LayerNorm norm{kWidth, {.eps = 1e-6}};
  Linear head{kWidth, kClasses};
  Parameter cls_token, pos_embed;
  ViT() {
    blocks.emplace_back(), blocks.emplace_back();
    add("patch_embed", patch_embed), add("blocks", blocks), add("norm", norm), add("head", head);
    add_parameter(cls_token, "cls_token", {1, 1, kWidth}, Init{}), add_parameter(pos_embed, "pos_embed", {1, kTokens, kWidth}, Init{});
  }
  Value forward(Value x) const override {
    const Value classes = expand(value_of(cls_token), {x.shape().n(), -1, -1});
    x = blocks(concat({classes, patch_embed(x)}, 1) + value_of(pos_embed));
    return head(norm(flatten(slice(x, 0, 1), 1)));
  }
};

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "vit WEIGHTS OUTPUTS\n", 2;
  ViT net;
  load(net, Weights::open(argv[1]));
  const Weights golden = Weights::open(argv[2]);
  Session session = compile(net, {{"x", golden.at("x").shape}}, Device::cuda_count() > 0 ? Device::cuda() : Device::cpu());
  const bool right = verify_against(session, golden).ok() && verify(session).ok();
  return std::cout << "ViT on " << session.device().name() << (right ? ": right\n" : ": WRONG\n"), right ? 0 : 1;
}

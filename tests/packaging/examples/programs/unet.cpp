// The diffusion U-Net of lucidrains/denoising-diffusion-pytorch 2.x, with its keys, out of the library's operations.
//   unet weights.safetensors outputs.safetensors: loads, runs, compares with what PyTorch made of the same inputs
#include <frieze/frieze.h>

#include <cmath>
#include <iostream>

using namespace frieze;

constexpr int kImage = 3, kDim = 8, kTime = 4 * kDim;            // channels of a picture and of the first stage; of the time's embedding
constexpr int kHeads = 2, kWidth = 4, kInner = kHeads * kWidth;  // of an attention
constexpr int kChannels[] = {kDim, kDim, 2 * kDim, 4 * kDim};    // before the first stage, and behind each
constexpr int kStages = std::size(kChannels) - 1, kMost = kChannels[kStages];
const Conv2dOptions kSame{.padding = -1};
const RMSNorm2dOptions kNorm{.eps_mode = EpsMode::clamp_norm};  // F.normalize times sqrt(C)

struct Block final : Module {
  Conv2d proj;
  RMSNorm2d norm;
  Block(int in, int out) : proj(in, out, 3, kSame), norm(out, kNorm) { add("proj", proj), add("norm", norm); }
  Value forward(Value x) const override { return silu(norm(proj(x))); }
  Value forward(Value x, Value scale, Value shift) const override { return silu(norm(proj(x)) * (scale + 1) + shift); }
};

struct ResnetBlock final : Module {
  Sequential mlp;
  Block block1, block2;
  Conv2d res_conv;
  ResnetBlock(int in, int out)
      : mlp(silu, std::make_unique<Linear>(kTime, 2 * out)), block1(in, out), block2(out, out), res_conv(in, out, 1) {
    add("mlp", mlp), add("block1", block1), add("block2", block2);
    if (in != out) add("res_conv", res_conv);
  }
  Value forward(Value x, Value time) const override {
    const auto film = chunk(reshape(mlp(time), {x.shape().n(), -1, 1, 1}), 2);
    const Value y = block2(block1(x, film[0], film[1]));
    return y + (y.shape() == x.shape() ? x : res_conv(x));
  }
};

struct Attention final : Module {
  bool full;
  RMSNorm2d norm;
  Conv2d to_qkv, out;
  Sequential to_out;
  Parameter mem_kv;
  Attention(int c, bool full) : full(full), norm(c, kNorm), to_qkv(c, 3 * kInner, 1, {.bias = false}), out(kInner, c, 1) {
    to_out.emplace_back<Conv2d>(kInner, c, 1), to_out.emplace_back<RMSNorm2d>(c, kNorm);
    add("norm", norm), add("to_qkv", to_qkv), add("to_out", full ? static_cast<Module&>(out) : to_out);
    add_parameter(mem_kv, "mem_kv", full ? Shape{2, kHeads, 4, kWidth} : Shape{2, kHeads, kWidth, 4}, Init::around(0, 1));
  }
  Value forward(Value x) const override {
    const Shape& s = x.shape();
    const auto memory = chunk(value_of(mem_kv), 2, 0), qkv = chunk(to_qkv(norm(x)), 3);
    const auto heads = [&](Value v) { return reshape(v, {s.n(), kHeads, kWidth, -1}); };
    const auto behind = [&](Value of_all, Value v, int axis) { return concat({expand(of_all, {s.n(), -1, -1, -1}), v}, axis); };
    Value q = heads(qkv[0]), k = heads(qkv[1]), v = heads(qkv[2]);
    if (full) {
      k = behind(memory[0], transpose(k, 2, 3), 2), v = behind(memory[1], transpose(v, 2, 3), 2);
      v = transpose(scaled_dot_product_attention(transpose(q, 2, 3), k, v), 2, 3);
    } else {
      k = softmax(behind(memory[0], k, 3), 3), v = behind(memory[1], v, 3);
      v = matmul(matmul(v, transpose(k, 2, 3)), softmax(q, 2) / std::sqrt(float(kWidth)));
    }
    v = reshape(v, {s.n(), -1, s.h(), s.w()});
    return full ? out(v) : to_out(v);
  }
};

struct Unet final : Module {
  Conv2d init_conv{kImage, kDim, 7, kSame}, final_conv{kDim, kImage, 1};
  Sequential time_mlp{std::make_unique<TimestepEmbedding>(kDim), std::make_unique<Linear>(kDim, kTime), std::make_unique<GELU>(),
                      std::make_unique<Linear>(kTime, kTime)};
  ModuleList<ModuleList<>> downs, ups;
  ResnetBlock mid_block1{kMost, kMost}, mid_block2{kMost, kMost}, final_res_block{2 * kDim, kDim};
  Attention mid_attn{kMost, true};
  Unet() {
    const auto blocks = [](ModuleList<>& stage, int in, int out, bool full) -> ModuleList<>& {
      stage.emplace_back<ResnetBlock>(in, out), stage.emplace_back<ResnetBlock>(in, out), stage.emplace_back<Attention>(out, full);
      return stage;
    };
    for (int i = 0; i < kStages; ++i) {
      const int a = kChannels[i], b = kChannels[i + 1], j = kStages - 1 - i, c = kChannels[j], d = kChannels[j + 1];
      auto &down = blocks(downs.emplace_back(), a, a, i == kStages - 1), &up = blocks(ups.emplace_back(), c + d, d, i == 0);
      if (i == kStages - 1) {
        down.emplace_back<Conv2d>(a, b, 3, kSame), up.emplace_back<Conv2d>(d, c, 3, kSame);
      } else {
        down.emplace_back<Sequential>(std::make_unique<PixelUnshuffle>(2), std::make_unique<Conv2d>(4 * a, b, 1));
        up.emplace_back<Sequential>(std::make_unique<Upsample>(2), std::make_unique<Conv2d>(d, c, 3, kSame));
      }
    }
    add("init_conv", init_conv), add("time_mlp", time_mlp), add("downs", downs), add("ups", ups), add("mid_block1", mid_block1);
    add("mid_attn", mid_attn), add("mid_block2", mid_block2), add("final_res_block", final_res_block), add("final_conv", final_conv);
  }
  Value forward(Value x, Value time) const override {
    const Value first = x = init_conv(x), t = time_mlp(time);
    std::vector<Value> skips;
    for (const auto& stage : downs) {
      skips.push_back(x = stage[0](x, t)), x = stage[1](x, t);
      skips.push_back(x = stage[2](x) + x), x = stage[3](x);
    }
    x = mid_block1(x, t), x = mid_attn(x) + x, x = mid_block2(x, t);
    for (const auto& stage : ups) {
      for (int i = 0; i < 2; ++i, skips.pop_back()) x = stage[i](concat({x, skips.back()}), t);
      x = stage[2](x) + x, x = stage[3](x);
    }
    return final_conv(final_res_block(concat({x, first}), t));
  }
};

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "unet WEIGHTS OUTPUTS\n", 2;
  Unet net;
  load(net, Weights::open(argv[1]));
  const Weights golden = Weights::open(argv[2]);
  const std::vector<InputSpec> inputs = {{"x", golden.at("x").shape}, {"t", golden.at("t").shape}};
  Session session = compile(net, inputs, Device::cuda_count() > 0 ? Device::cuda() : Device::cpu());
  const bool right = verify_against(session, golden).ok() && verify(session).ok();
  return std::cout << "U-Net on " << session.device().name() << (right ? ": right\n" : ": WRONG\n"), right ? 0 : 1;
}

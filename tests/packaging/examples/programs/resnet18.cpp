// ResNet-18 with torchvision's modules, and so its keys, out of the library's operations.
//   resnet18 weights.safetensors outputs.safetensors: loads, runs, compares with what PyTorch made of the same input
#include <frieze/frieze.h>

#include <iostream>

using namespace frieze;

namespace {

struct BasicBlock final : Module {
  Conv2d conv1, conv2;
  BatchNorm2d bn1, bn2;
  Sequential downsample;
  BasicBlock(int a, int b, int stride)
      : conv1(a, b, 3, {.stride = stride, .padding = 1, .bias = false}), conv2(b, b, 3, {.padding = 1, .bias = false}), bn1(b), bn2(b) {
    add("conv1", conv1), add("bn1", bn1), add("conv2", conv2), add("bn2", bn2), add("downsample", downsample);
    if (a == b && stride == 1) return;
    downsample.emplace_back<Conv2d>(a, b, 1, Conv2dOptions{.stride = stride, .bias = false}), downsample.emplace_back<BatchNorm2d>(b);
  }
  Value forward(Value x) const override { return relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)); }
};

struct ResNet18 final : Module {
  Conv2d conv1;
  BatchNorm2d bn1;
  ModuleList<BasicBlock> layers[4];
  Linear fc;
  ResNet18(int width, int classes) : conv1(3, width, 7, {.stride = 2, .padding = 3, .bias = false}), bn1(width), fc(8 * width, classes) {
    add("conv1", conv1), add("bn1", bn1), add("fc", fc);
    for (int i = 0, a = width, b = width; i < 4; ++i, a = b, b *= 2) {
      layers[i].emplace_back(a, b, a == b ? 1 : 2), layers[i].emplace_back(b, b, 1);
      add("layer" + std::to_string(i + 1), layers[i]);
    }
  }
  Value forward(Value x) const override {
    x = max_pool2d(relu(bn1(conv1(x))), 3, {.stride = 2, .padding = 1});
    for (const auto& layer : layers) x = layer(x);
    return fc(global_avg_pool(x));
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "resnet18 WEIGHTS OUTPUTS\n", 2;
  ResNet18 net(4, 10);
  load(net, Weights::open(argv[1]), {.ignore = {"*.num_batches_tracked"}});
  const Weights golden = Weights::open(argv[2]);
  Session session = compile(net, {{"x", golden.at("x").shape}}, Device::cuda_count() > 0 ? Device::cuda() : Device::cpu());
  const bool right = verify_against(session, golden).ok() && verify(session).ok();
  return std::cout << "ResNet-18 on " << session.device().name() << (right ? ": right\n" : ": WRONG\n"), right ? 0 : 1;
}

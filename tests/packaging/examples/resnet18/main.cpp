// ResNet-18 with torchvision's modules, and so its keys, and a pooling layer of this program's own.
//   resnet18 weights.safetensors outputs.safetensors [--unregistered]: loads, runs, compares with what PyTorch made of the same input
#include <frieze/frieze.h>

#include <iostream>
#include <string_view>

#include "max_pool2d.h"

using namespace frieze;

namespace {

struct BasicBlock final : Module {
  Conv2d conv1, conv2;
  BatchNorm2d bn1, bn2;
  Sequential downsample;
  BasicBlock(int a, int b, int stride)
      : conv1(a, b, 3, {.stride = stride, .padding = 1, .bias = false}), conv2(b, b, 3, {.padding = 1, .bias = false}), bn1(b), bn2(b) {
    if (a != b || stride != 1) {
      downsample.emplace_back<Conv2d>(a, b, 1, Conv2dOptions{.stride = stride, .bias = false});
      downsample.emplace_back<BatchNorm2d>(b);
    }
    add("conv1", conv1), add("bn1", bn1), add("conv2", conv2), add("bn2", bn2), add("downsample", downsample);
  }
  Value forward(Value x) const override { return relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)); }
};

struct ResNet18 final : Module {
  Sequential stages[4];
  Conv2d conv1;
  BatchNorm2d bn1;
  resnet::MaxPool2d maxpool{3, 2, 1};
  Linear fc;
  ResNet18(int width, int classes) : conv1(3, width, 7, {.stride = 2, .padding = 3, .bias = false}), bn1(width), fc(8 * width, classes) {
    add("conv1", conv1), add("bn1", bn1), add("maxpool", maxpool), add("fc", fc);
    int a = width, b = width;
    for (int i = 0; i < 4; ++i) {
      stages[i].emplace_back<BasicBlock>(a, b, i == 0 ? 1 : 2);
      stages[i].emplace_back<BasicBlock>(b, b, 1);
      add("layer" + std::to_string(i + 1), stages[i]);
      a = b, b *= 2;
    }
  }
  Value forward(Value x) const override {
    x = maxpool(relu(bn1(conv1(x))));
    for (const Sequential& stage : stages) x = stage(x);
    return fc(global_avg_pool(x));
  }
};

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 3) throw Error("resnet18 WEIGHTS OUTPUTS [--unregistered]");
#ifdef OWN_KERNELS
    if (argc == 3) resnet::register_max_pool2d();
#endif
    ResNet18 net(4, 10);
    load(net, Weights::open(argv[1]), {.ignore = {"*.num_batches_tracked"}});
    const Weights golden = Weights::open(argv[2]);
    const Device device = Device::cuda_count() > 0 ? Device::cuda() : Device::cpu();
    Session session = compile(net, {{"x", golden.at("x").shape}}, device);
    const AgainstReport against = verify_against(session, golden);  // PyTorch's answer to the same input
    const VerifyReport layers = verify(session);                    // each layer against its reference
    std::cout << "ResNet-18 on " << device.name() << ": " << session.plan().steps.size() << " steps, "
              << against.outputs[0].difference.max_abs << " from PyTorch's, " << against.outputs[0].difference.share << " of the tolerance "
              << (against.ok() ? "ok" : "FAILED") << ", verify " << (layers.ok() ? "ok" : "FAILED") << '\n';
    return against.ok() && layers.ok() ? 0 : 1;
  } catch (const Error& e) {
    std::cerr << e.what() << '\n';
    return 2;
  }
}

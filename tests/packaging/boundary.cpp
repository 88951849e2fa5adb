// Exceptions, layers and warnings across the border of the library, which may be a shared one: caught by their types, found by their types.
#include <frieze/core/version.h>
#include <frieze/core/weights.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/conv2d/conv2d.h>
#include <frieze/layers/elementwise/elementwise.h>
#include <frieze/models/dc_ae/config.h>

#include <functional>
#include <iostream>
#include <typeinfo>

namespace {

int failures = 0;

void expect(bool ok, const char* what) {
  if (ok) return;
  ++failures;
  std::cout << "wrong: " << what << '\n';
}

template <class E>
void expect_thrown(const char* what, const std::function<void()>& body) {
  try {
    body();
  } catch (const E& e) {
    expect(typeid(e) == typeid(E), what);
    return;
  } catch (...) {
  }
  expect(false, what);
}

// A layer that the library has never seen.
class Twice final : public frieze::Layer {
 public:
  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override {
    frieze::check_inputs(type_name(), in, 1);
    return frieze::elementwise_cost(in, in[0], 1);
  }
  void reference(const frieze::ReferenceArgs& args) const override {
    std::vector<float> y = frieze::to_floats(args.in[0]);
    for (float& v : y) v *= 2;
    frieze::from_floats(y, args.out[0]);
  }
  std::string_view type_name() const override { return "Twice"; }
};

// A block of two inputs, as a program writes it.
struct Gated final : frieze::Module {
  frieze::Conv2d conv{2, 2, 1};
  Gated() { add("conv", conv); }
  static constexpr int kLine = __LINE__ + 1;
  frieze::Value forward(frieze::Value x, frieze::Value gate) const override { return conv(x) * gate; }
};
struct Net final : frieze::Module {
  Gated block;
  Net() { add("block", block); }
  frieze::Value forward(frieze::Value x, frieze::Value gate) const override { return block(x, gate); }
};

std::string message_of_a_wrong_gate() {
  try {
    (void)frieze::trace(Net(), {{"x", {1, 2, 3, 3}}, {"gate", {1, 5, 1, 1}}});
  } catch (const frieze::ShapeError& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

int main() {
  using namespace frieze;
  expect_thrown<OptionError>("OptionError", [] { (void)Device::parse("no such device"); });
  expect_thrown<ShapeError>("ShapeError", [] { (void)HostTensor({Shape{2}, DType::f32}, std::vector<float>(3)); });
  expect_thrown<DTypeError>("DTypeError", [] { (void)parse_dtype("f8"); });
  expect_thrown<IoError>("IoError", [] { (void)Weights::open("/no/such/file.safetensors"); });
  expect_thrown<WeightsError>("WeightsError", [] { (void)Weights::view({}, "nothing"); });
  if (Device::cuda_count() == 0) expect_thrown<CudaError>("CudaError", [] { (void)Device::cuda(); });
  expect_thrown<Error>("Error, by the program", [] { throw Error("own"); });
  try {
    (void)parse_dtype("f8");
  } catch (const std::runtime_error&) {
    // the base of all
  }
  const Twice layer;
  Session net = compile(layer, {{"x", {1, 1, 1, 3}}}, Device::cpu());
  net.input().copy_from(std::vector<float>{1, 2, 3});
  net.run();
  expect(net.output().floats() == std::vector<float>{2, 4, 6}, "an own layer's values");
  expect(verify(net).ok(), "verify of an own layer");
  expect(!version().empty(), "version");
  expect(trace(Net(), {{"x", {1, 2, 3, 3}}, {"gate", {1, 2, 1, 1}}}).steps.back().path == "block.mul", "a block of two inputs");
  const std::string message = message_of_a_wrong_gate(), line = "(boundary.cpp:" + std::to_string(Gated::kLine) + ")";
  expect(message.starts_with("block.mul: Mul ") && message.ends_with(line), message.c_str());
  std::cout << (failures == 0 ? "boundary: right" : "boundary: wrong") << '\n';
  return failures == 0 ? 0 : 1;
}

// A rewrite of the consumer's own, for a layer of its own: what the installed core/rewrite.h is for.
#include <frieze/core/rewrite.h>
#include <frieze/graph/session.h>
#include <frieze/graph/verify.h>

#include <iostream>

namespace {

// y = -x
class Negate final : public frieze::Layer {
 public:
  frieze::Inferred infer(std::span<const frieze::TensorSpec> in) const override {
    frieze::check_inputs(type_name(), in, 1);
    return frieze::elementwise_cost(in, in[0], 1);
  }
  void reference(const frieze::ReferenceArgs& args) const override {
    std::vector<float> y = frieze::to_floats(args.in[0]);
    for (float& v : y) v = -v;
    frieze::from_floats(y, args.out[0]);
  }
  std::string_view type_name() const override { return "Negate"; }
};

frieze::Value negate(frieze::Value x) { return frieze::apply(std::make_shared<Negate>(), "negate", {&x, 1}); }

struct Thrice final : frieze::Module {
  frieze::Value forward(frieze::Value x) const override { return negate(negate(negate(x))); }
};

// -(-(-x)) = -x
std::optional<frieze::Replacement> two_less(const frieze::StepView& shown) {
  const auto second = shown.as<Negate>() != nullptr ? shown.maker_for_this_alone(0) : std::nullopt;
  const auto first = second && second->as<Negate>() != nullptr ? second->maker_for_this_alone(0) : std::nullopt;
  if (!first || first->as<Negate>() == nullptr) return std::nullopt;
  return frieze::Replacement{.steps = {{shown.shared_layer(), {first->input(0)}}}, .absorbed = {*first, *second}};
}

}  // namespace

int main() {
  frieze::rewrite_registry().add("two negations less", two_less);
  const Thrice model;
  const std::vector<frieze::InputSpec> inputs{{"x", {1, 1, 2, 2}}};
  frieze::Session net = frieze::compile(model, inputs, frieze::Device::cpu());
  const frieze::Session kept = frieze::compile(model, inputs, frieze::Device::cpu(), {.passes = {.without = {"two negations less"}}});
  net.input().copy_from(std::vector<float>{1, -2, 3, -4});
  net.run();
  const std::vector<frieze::VerifyRewrite> proofs = verify_rewrites(trace(model, inputs));
  const bool right = net.plan().steps.size() == 1 && kept.plan().steps.size() == 3 &&
                     net.output().floats() == std::vector<float>{-1, 2, -3, 4} && proofs.size() == 1 && proofs[0].ok();
  std::cout << "own rewrite: " << (right ? "right\n" : "wrong\n");
  return right ? 0 : 1;
}

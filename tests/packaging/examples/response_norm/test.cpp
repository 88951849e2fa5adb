// The layer's test: its reference against PyTorch's values on every machine, its kernels against the reference where there is a GPU.
//   response_norm_test golden.safetensors [--unregistered]
#include <frieze/testing/parity.h>

#include <iostream>

#include "response_norm.h"

int main(int argc, char** argv) {
  using namespace frieze;
  try {
    if (argc < 2) throw Error("response_norm_test GOLDEN [--unregistered]");
#ifdef OWN_KERNELS
    if (argc == 2) own::register_response_norm();
#endif
    const Weights golden = Weights::open(argv[1]);
    own::GlobalResponseNorm norm(12);
    load(norm, golden, {.ignore = {"x", "y"}});
    const std::vector<Shape> shapes{{1, 12, 1, 1}, {2, 12, 5, 7}, {3, 12, 32, 33}};
    int failed = 0;
    const auto check = [&](const test::ParityCase& c) {
      const test::ParityReport report = check_parity(norm, c);
      std::cout << describe(c) << ": " << report;
      failed += report.ok() ? 0 : 1;
    };
    check({.inputs = {golden.at("x").shape}, .values = {golden.floats("x")}, .expected = golden.floats("y")});
    for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
      for (const Shape& shape : shapes) {
        for (const test::Fill fill : {test::Fill::normal, test::Fill::constant, test::Fill::zeros, test::Fill::special}) {
          check({.inputs = {shape}, .dtype = t, .fill = fill});
        }
        check({.inputs = {shape}, .dtype = t, .misalign = 1});
      }
    }
    std::cout << (failed == 0 ? "GlobalResponseNorm: right" : "GlobalResponseNorm: wrong") << '\n';
    return failed == 0 ? 0 : 1;
  } catch (const Error& e) {
    std::cerr << e.what() << '\n';
    return 2;
  }
}

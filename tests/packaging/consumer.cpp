// The least that a program around Frieze needs: a model, its weights, a session, a run.
#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include <iostream>

int main() {
  frieze::Quickstart model;
  frieze::sharpen(model);
  frieze::Session net = frieze::compile(model, {{"x", {1, 3, 33, 65}}}, frieze::Device::cpu());
  net.input().copy_from(std::vector<float>(3 * 33 * 65, 0.5F));
  net.run();
  std::cout << net.output().spec().shape << " on " << net.device().name() << ", " << frieze::Device::cuda_count() << " CUDA devices\n";
}

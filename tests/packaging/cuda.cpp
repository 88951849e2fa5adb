// Asks for the GPU. Where there is none, the answer is a CudaError in one line, and status 3 tells the test so.
#include <frieze/graph/session.h>
#include <frieze/models/quickstart.h>

#include <iostream>

int main() {
  try {
    frieze::Quickstart model;
    frieze::sharpen(model);
    frieze::Session net = frieze::compile(model, {{"x", {1, 3, 33, 65}}}, frieze::Device::cuda());
    net.run();
    std::cout << net.output().spec().shape << " on " << net.device().name() << '\n';
  } catch (const frieze::CudaError& e) {
    std::cout << "no GPU: " << e.what() << '\n';
    return 3;
  }
}

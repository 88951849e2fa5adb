// In place of conv2d_cudnn.cpp in a build without cuDNN.
#include <frieze/layers/conv2d/cuda/conv2d_paths.h>

namespace frieze::cuda {

bool cudnn_takes(const ConvProblem&, const PrepareArgs&) { return false; }
std::vector<NamedConvPath> make_cudnn_paths(const ConvProblem&, const PrepareArgs&, std::size_t, std::size_t) { return {}; }
std::unique_ptr<ConvPath> make_cudnn_path(const ConvProblem&, const PrepareArgs&, const std::string&) { return nullptr; }
void remember_cudnn_path(const ConvProblem&, const PrepareArgs&, const std::string&, const ConvPath&) {}
std::string cudnn_version_text() { return {}; }

}  // namespace frieze::cuda

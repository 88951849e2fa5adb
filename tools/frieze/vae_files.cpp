#include "tools/frieze/vae_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/safetensors.h>
#include <frieze/core/weights.h>

#include "tools/frieze/outputs.h"
#include "tools/image/alpha.h"
#include "tools/image/image.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

bool is_picture_name(const std::string& path) { return format_of_name(path).has_value(); }
bool is_tensor_file(const std::string& path) { return lower_ending(path) == ".safetensors"; }

HostTensor read_tensor(const std::string& path, const char* name, int channels, const Weights& file) {
  check<WeightsError>(file.contains(name), file.source(), ": no tensor '", name, "'");
  const Shape& shape = file.at(name).shape;
  check<ShapeError>(shape.rank() == 4 && shape.c() == channels && shape.elements() > 0, printable(path), ": tensor '", name,
                    "': expected [N,", channels, ",H,W], got ", shape);
  return HostTensor({shape, DType::f32}, file.floats(name));
}

std::int64_t whole_number(const std::map<std::string, std::string>& metadata, const std::string& key) {
  const auto it = metadata.find(key);
  std::int64_t value = 0;
  if (it != metadata.end()) std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
  return std::max<std::int64_t>(value, 0);
}

}  // namespace

Batch list_files(const VaeOptions& options, Outputs& outputs) {
  const bool decode = options.task == VaeTask::decode, encode = options.task == VaeTask::encode;
  const char* kinds = decode ? ".safetensors" : ".png, .jpg or .safetensors";
  const auto is_input = [decode](const std::string& path) { return is_tensor_file(path) || (!decode && is_picture_name(path)); };
  for (const std::string& in : options.in) {
    std::error_code ignored;
    check<OptionError>(fs::is_directory(in, ignored) || is_input(in), printable(in), ": expected a file that ends in ", kinds);
  }
  Batch batch = list_batch({options.in, options.out, encode ? ".safetensors" : ".png", false, kinds, is_input}, outputs);
  for (const BatchFile& file : batch.files) {
    const bool ok = file.out.empty() || is_tensor_file(file.out) || (!encode && is_picture_name(file.out));
    check<OptionError>(ok, printable(file.out), ": expected an ending of ", encode ? ".safetensors" : ".png, .jpg or .safetensors",
                       " for --out");
  }
  return batch;
}

VaeInput read_image_input(const std::string& path, int channels, bool keeps_alpha, const PictureOptions& options) {
  VaeInput input;
  if (is_tensor_file(path)) {
    input.tensor = read_tensor(path, "image", channels, Weights::open(path));
  } else {
    check<ShapeError>(channels == 3, printable(path), ": the model takes images of ", channels, " channels, a picture has 3");
    const bool gives_up = !keeps_alpha && read_header(path, options).has_alpha();
    check<OptionError>(!gives_up || options.flatten, printable(path), ": a latent cannot hold transparency: give it up with --flatten");
    Image picture = read_srgb_picture(path, options);
    if (gives_up) {
      picture = flattened(std::move(picture), *options.flatten);
      tell_notes(path, {"the transparency is laid over one colour"});
    }
    input.picture = with_hidden_filled(std::move(picture));
    std::vector<float> values = to_rgb_planes(input.picture);
    for (float& v : values) v = 2 * v - 1;
    input.tensor = HostTensor({Shape{1, 3, input.picture.height, input.picture.width}, DType::f32}, values);
  }
  input.height = input.tensor.spec().shape.h();
  input.width = input.tensor.spec().shape.w();
  return input;
}

VaeInput read_latent_input(const std::string& path, int channels) {
  const Weights file = Weights::open(path);
  return {read_tensor(path, "latent", channels, file),
          whole_number(file.metadata(), "image_height"),
          whole_number(file.metadata(), "image_width"),
          {}};
}

void write_latent(OutputFile& to, const HostTensor& latent, std::int64_t height, std::int64_t width) {
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("latent", latent.converted(latent.spec().dtype, Format::nchw));
  write_safetensors(to, tensors, {{"image_height", std::to_string(height)}, {"image_width", std::to_string(width)}});
}

void write_image(Outputs& outputs, const std::string& path, const HostTensor& image, const Image& like, const PictureOptions& options) {
  if (is_tensor_file(path)) {
    std::map<std::string, HostTensor> tensors;
    tensors.emplace("image", image.converted(image.spec().dtype, Format::nchw));
    return write_safetensors(outputs.open(path), tensors);
  }
  const Shape& s = image.spec().shape;
  check<ShapeError>(s.n() == 1, printable(path), ": a picture holds one image, got ", s.n(), ": write a .safetensors file");
  std::vector<float> values = image.floats();
  for (float& v : values) v = 0.5f * v + 0.5f;
  Image picture = from_planes(values, static_cast<int>(s.c()), static_cast<int>(s.h()), static_cast<int>(s.w()));
  write_picture(outputs, path, with_properties_of(std::move(picture), like), options);
}

HostTensor padded(const HostTensor& image, int ratio) {
  const Shape& s = image.spec().shape;
  const std::int64_t h = round_up(s.h(), ratio), w = round_up(s.w(), ratio);
  const std::vector<float> from = image.floats();
  std::vector<float> to;
  to.reserve(static_cast<std::size_t>(s.n() * s.c() * h * w));
  for (std::int64_t p = 0; p < s.n() * s.c(); ++p) {
    for (std::int64_t i = 0; i < h; ++i) {
      const float* row = from.data() + (p * s.h() + std::min(i, s.h() - 1)) * s.w();
      to.insert(to.end(), row, row + s.w());
      to.insert(to.end(), static_cast<std::size_t>(w - s.w()), row[s.w() - 1]);
    }
  }
  return HostTensor({Shape{s.n(), s.c(), h, w}, DType::f32}, to);
}

HostTensor cropped(const HostTensor& image, std::int64_t height, std::int64_t width) {
  TensorView corner = image.view();
  corner.shape = Shape{corner.shape.n(), corner.shape.c(), height, width};
  return HostTensor({corner.shape, DType::f32}, to_floats(corner));
}

double psnr(const HostTensor& a, const HostTensor& b) {
  const std::vector<float> x = a.floats(), y = b.floats();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = (std::clamp(x[i], -1.0f, 1.0f) - std::clamp(y[i], -1.0f, 1.0f)) / 2.0;
    sum += d * d;
  }
  return -10 * std::log10(sum / static_cast<double>(x.size()));
}

}  // namespace frieze::tools

#include "tools/frieze/dcae_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/core/weights.h>

#include "tools/image/alpha.h"
#include "tools/image/image.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

std::string ending(const fs::path& path) {
  std::string text = path.extension().string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return text;
}

bool is_tensor_file(const fs::path& path) { return ending(path) == ".safetensors"; }
bool is_picture(const fs::path& path) { return format_of_name(path).has_value(); }

void check_endings(const DcaeFile& file, DcaeTask task) {
  const bool in_ok = is_tensor_file(file.in) || (task != DcaeTask::decode && is_picture(file.in));
  check<OptionError>(in_ok, printable(file.in), ": expected ",
                     task == DcaeTask::decode ? "a .safetensors file" : "a .png, .jpg or .safetensors file");
  const bool out_ok = is_tensor_file(file.out) || (task != DcaeTask::encode && is_picture(file.out));
  check<OptionError>(file.out.empty() || out_ok, printable(file.out), ": expected ",
                     task == DcaeTask::encode ? "an ending of .safetensors" : "an ending of .png, .jpg or .safetensors", " for --out");
}

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

std::vector<DcaeFile> list_files(const DcaeOptions& options) {
  std::vector<DcaeFile> files;
  bool several = options.in.size() > 1;
  for (const std::string& in : options.in) {
    std::error_code error;
    const fs::file_status status = fs::status(in, error);
    check<IoError>(fs::exists(status), printable(in), ": no such file or folder");
    if (!fs::is_directory(status)) {
      files.push_back({in, {}});
      continue;
    }
    several = true;
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(in, error)) {
      const bool fits = is_tensor_file(entry.path()) || (options.task != DcaeTask::decode && is_picture(entry.path()));
      if (fits && entry.is_regular_file(error)) found.push_back(entry.path().string());
    }
    check<IoError>(!error, printable(in), ": cannot read the folder: ", error.message());
    check<IoError>(!found.empty(), printable(in), ": no ", options.task == DcaeTask::decode ? "" : ".png, .jpg or ",
                   ".safetensors file in this folder");
    std::sort(found.begin(), found.end());
    for (std::string& path : found) files.push_back({std::move(path), {}});
  }
  if (!options.out.empty()) {
    const bool exists = fs::exists(options.out), folder = exists ? fs::is_directory(options.out) : several;
    check<OptionError>(folder || !several, printable(options.out), ": several inputs need a folder as --out, this is a file");
    if (folder && !exists) check_writable(options.out);
    std::set<std::string> taken;
    for (DcaeFile& file : files) {
      const char* made = options.task == DcaeTask::encode ? ".safetensors" : ".png";
      file.out = folder ? (fs::path(options.out) / fs::path(file.in).stem()).string() + made : options.out;
      check<OptionError>(taken.insert(file.out).second, "two inputs would be written to ", printable(file.out));
    }
  }
  for (const DcaeFile& file : files) {
    check_endings(file, options.task);
    const bool to_be_made = !fs::exists(fs::path(file.out).parent_path()) && several;
    if (!file.out.empty() && !to_be_made) check_writable(file.out);
  }
  return files;
}

void make_folder(const std::string& out) {
  const fs::path folder = fs::path(out).parent_path();
  std::error_code error;
  if (!folder.empty()) fs::create_directory(folder, error);  // no error if it exists
  check<IoError>(!error, printable(folder.string()), ": cannot make this folder: ", error.message());
}

DcaeInput read_image_input(const std::string& path, int channels, bool keeps_alpha, const PictureOptions& options) {
  DcaeInput input;
  if (is_tensor_file(path)) {
    input.tensor = read_tensor(path, "image", channels, Weights::open(path));
  } else {
    check<ShapeError>(channels == 3, printable(path), ": the model takes images of ", channels, " channels, a picture has 3");
    Image picture = read_srgb_picture(path, options);
    if (picture.has_alpha() && !keeps_alpha) {
      const WriteOptions given_up = write_options(options);
      check<OptionError>(given_up.flatten.has_value(), printable(path), ": a latent cannot hold transparency: give it up with --flatten");
      picture = flattened(std::move(picture), *given_up.flatten);
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

DcaeInput read_latent_input(const std::string& path, int channels) {
  const Weights file = Weights::open(path);
  return {read_tensor(path, "latent", channels, file),
          whole_number(file.metadata(), "image_height"),
          whole_number(file.metadata(), "image_width"),
          {}};
}

void write_latent(const std::string& path, const HostTensor& latent, std::int64_t height, std::int64_t width) {
  std::map<std::string, HostTensor> tensors;
  tensors.emplace("latent", latent.converted(latent.spec().dtype, Format::nchw));
  save_safetensors(path, tensors, {{"image_height", std::to_string(height)}, {"image_width", std::to_string(width)}});
}

void write_image(const std::string& path, const HostTensor& image, const Image& like, const PictureOptions& options) {
  if (is_tensor_file(path)) {
    std::map<std::string, HostTensor> tensors;
    tensors.emplace("image", image.converted(image.spec().dtype, Format::nchw));
    return save_safetensors(path, tensors);
  }
  const Shape& s = image.spec().shape;
  check<ShapeError>(s.n() == 1, printable(path), ": a picture holds one image, got ", s.n(), ": write a .safetensors file");
  std::vector<float> values = image.floats();
  for (float& v : values) v = 0.5f * v + 0.5f;
  Image picture = from_planes(values, static_cast<int>(s.c()), static_cast<int>(s.h()), static_cast<int>(s.w()));
  write_picture(path, with_properties_of(std::move(picture), like), options);
}

HostTensor padded(const HostTensor& image, int ratio) {
  const Shape& s = image.spec().shape;
  const std::int64_t h = (s.h() + ratio - 1) / ratio * ratio, w = (s.w() + ratio - 1) / ratio * ratio;
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

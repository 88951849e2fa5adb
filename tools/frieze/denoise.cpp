// frieze denoise: one picture, or every picture of a folder.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>
#include <optional>

#include <frieze/core/error.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/models/denoiser/denoise.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/batch.h"
#include "tools/frieze/commands.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/outputs.h"
#include "tools/image/alpha.h"
#include "tools/image/colour.h"
#include "tools/image/quality.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// A number of levels of 255, as a share of 1; "auto" is no limit.
std::optional<double> parse_sigma(const std::string& text) {
  if (text == "auto") return std::nullopt;
  return parse_number("--sigma (auto, or levels of 255)", text, 0, 255) / 255;
}

// Rewrites one line of a terminal; silent where stderr is none, and until a picture has taken a second.
class ProgressBar {
 public:
  explicit ProgressBar(std::string name) : name_(std::move(name)), shown_(::isatty(STDERR_FILENO) != 0) {}
  ~ProgressBar() {
    if (drawn_) std::cerr << "\r\033[K" << std::flush;
  }
  void operator()(std::int64_t done, std::int64_t tiles) {
    if (!shown_ || tiles == 1 || std::chrono::duration<double>(Clock::now() - start_).count() < 1) return;
    constexpr std::int64_t kWidth = 30;
    const auto filled = static_cast<std::size_t>(kWidth * done / tiles);
    std::cerr << '\r' << name_ << " [" << std::string(filled, '#') << std::string(kWidth - filled, ' ') << "] tile " << done << " of "
              << tiles << "\033[K" << std::flush;
    drawn_ = true;
  }

 private:
  std::string name_;
  bool shown_, drawn_ = false;
  Clock::time_point start_ = Clock::now();
};

struct Report {
  std::string in, out;
  int width = 0, height = 0;
  double prepare_ms = 0, seconds = 0;  // to make the session, where there was none for this shape; to denoise
  double estimate = 0;                 // of the noise, in levels of 255
  double megapixels() const { return width * 1e-6 * height; }
};

// What the network is shown: hidden pixels continue the visible ones, noise included. The network finds the noise's strength by itself, and
// next to a smooth area takes all noise for texture. The true continuation is not known: the first pixel next to it loses about 2.5 dB
// against a picture that has one, the tenth nothing (tests/tools/pictures_test.cpp).
Image shown_to_network(const Image& photo) {
  if (!photo.has_alpha()) return photo;
  Image filled = with_hidden_filled(photo);
  const std::vector<float> seen = visibility(photo);
  const Image noisy = add_noise(filled, estimate_noise(photo), 1);
  const std::size_t channels = static_cast<std::size_t>(photo.channels);
  for (std::size_t i = 0; i < filled.pixels.size(); ++i) {
    filled.pixels[i] += (1 - seen[i / channels]) * (noisy.pixels[i] - filled.pixels[i]);
  }
  return filled;
}

// Barely visible pixels keep their own colours and take part of the change; hidden ones have no colours to keep.
void keep_barely_visible(const Image& photo, std::span<const float> noisy, std::vector<float>& clean) {
  const std::vector<float> seen = visibility(photo), own = to_rgb_planes(photo);
  for (std::size_t i = 0; i < clean.size(); ++i) {
    const float share = seen[i % seen.size()];
    if (share > 0 && share < 1) clean[i] = own[i] + share * (clean[i] - noisy[i]);
  }
}

Report denoise_file(PhotoDenoiser& denoiser, const std::string& in, const std::string& out, std::optional<double> sigma,
                    const PictureOptions& options, Outputs& outputs) {
  check_can_hold(read_header(in, options), out, write_options(options));
  const Image photo = read_picture(in, options);
  const auto begin = Clock::now();
  denoiser.prepare({photo.height, photo.width});
  const auto start = Clock::now();
  ProgressBar bar(printable(fs::path(in).filename().string(), 40));
  const std::vector<float> noisy = to_rgb_planes(shown_to_network(photo));
  std::vector<float> clean = denoiser(noisy, {photo.height, photo.width}, [&](std::int64_t done, std::int64_t tiles) { bar(done, tiles); });
  if (sigma) limit_removed(noisy, clean, *sigma, visibility(photo));
  if (photo.has_alpha()) keep_barely_visible(photo, noisy, clean);
  Report report{in, out, photo.width, photo.height};
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  report.prepare_ms = std::chrono::duration<double, std::milli>(start - begin).count();
  report.estimate = estimate_noise(photo) * 255;
  Image picture = from_planes(clean, 3, photo.height, photo.width);
  if (photo.channels <= 2) {  // grey in, grey out: the three colours are three answers to one question
    for (std::size_t p = 0; p < picture.pixels.size() / 3; ++p) {
      picture.pixels[p] = (picture.pixels[3 * p] + picture.pixels[3 * p + 1] + picture.pixels[3 * p + 2]) / 3;
    }
    picture.pixels.resize(picture.pixels.size() / 3);
    picture.channels = 1;
  }
  write_picture(outputs, out, with_properties_of(std::move(picture), photo), options);
  return report;
}

std::string report_text(const Report& r) {
  return concat_text(printable(r.in), ' ', r.width, 'x', r.height, " -> ", printable(r.out), ": ", fixed(r.seconds * 1e3, 1),
                     " ms (prepared in ", fixed(r.prepare_ms, 1), " ms), ", fixed(r.megapixels() / r.seconds, 2),
                     " megapixels/s, noise about ", fixed(r.estimate, 1), " of 255");
}

std::string report_json(const Report& r) {
  return JsonObject()
      .add("in", r.in)
      .add("out", r.out)
      .add("width", r.width)
      .add("height", r.height)
      .add("prepare_ms", r.prepare_ms)
      .add("ms", r.seconds * 1e3)
      .add("megapixels_per_second", r.megapixels() / r.seconds)
      .add("noise_of_255", r.estimate)
      .line();
}

}  // namespace

int denoise_command(const DenoiseCommandOptions& options, Outputs& out) {
  const std::optional<double> sigma = parse_sigma(options.sigma);
  check<OptionError>(options.in_place || !options.out.empty(), "--out is required, or --in-place; see frieze denoise --help");
  DenoiseOptions settings;
  settings.dtype = parse_float_dtype(options.dtype);
  settings.tile = options.tile;
  settings.max_memory = options.max_memory;
  settings.passes.without = options.no_rewrites;
  settings.tune = !options.no_tune;
  settings.tuning_cache = default_tuning_cache_file().string();
  const Device device = pick_device(options.device);
  const Batch batch = list_batch({{options.in},
                                  options.out,
                                  ".png",
                                  options.in_place,
                                  "PNG or JPEG",
                                  [](const std::string& path) { return format_of_name(path).has_value(); }},
                                 out);
  for (const BatchFile& file : batch.files) (void)output_format(file.out);
  PhotoDenoiser denoiser(device, settings);
  if (!options.json) out.text() << "denoiser on " << device.name() << ", " << options.dtype << ", sigma " << options.sigma << '\n';
  std::size_t done = 0;
  double megapixels = 0, seconds = 0;
  const int status = run_batch(batch, out, [&](const BatchFile& file, std::size_t) {
    const Report report = denoise_file(denoiser, file.in, file.out, sigma, options.pictures, out);
    out.text() << (options.json ? report_json(report) : report_text(report)) << '\n';
    megapixels += report.megapixels();
    seconds += report.seconds;
    ++done;
  });
  if (!options.json && batch.several && done > 0) {
    out.text() << done << " of " << batch.files.size() << " pictures, " << fixed(megapixels / seconds, 2) << " megapixels/s, "
               << counted(static_cast<std::int64_t>(denoiser.captures()), device.is_cuda() ? "graph" : "plan");
    if (batch.skipped > 0) out.text() << ", " << counted(static_cast<std::int64_t>(batch.skipped), "other file") << " left out";
    out.text() << '\n';
  }
  return status;
}

int noise_command(const NoiseOptions& options, Outputs& out) {
  out.reads(options.in);
  out.writes(options.out);
  (void)output_format(options.out);
  check_can_hold(read_header(options.in, options.pictures), options.out, write_options(options.pictures));
  Image photo = read_picture(options.in, options.pictures);
  write_picture(out, options.out, add_noise(std::move(photo), options.sigma / 255, options.seed), options.pictures);
  out.text() << printable(options.in) << " -> " << printable(options.out) << ": Gaussian noise of " << options.sigma << " of 255, seed "
             << options.seed << '\n';
  return kExitOk;
}

namespace {

// Values of other colours are no values to compare: then all become sRGB.
void make_comparable(std::vector<Image>& images) {
  const ColourTags& first = images.front().tags;
  if (std::all_of(images.begin(), images.end(), [&](const Image& image) { return same_colours(image.tags, first); })) return;
  for (Image& image : images) image = to_srgb(std::move(image));
  tell_notes("compare", {"the pictures' colour profiles differ: compared in sRGB"});
}

}  // namespace

int compare_command(const CompareOptions& options, Outputs& out) {
  out.reads(options.truth);
  for (const std::string& path : options.others) out.reads(path);
  if (!options.out.empty()) {
    out.writes(options.out);
    (void)output_format(options.out);
  }
  const Image header = read_header(options.truth, options.pictures);
  Image all = header;  // side by side
  all.channels = 3;
  for (const std::string& path : options.others) {
    const Image other = read_header(path, options.pictures);
    check_comparable(other, header);
    all.width += std::min(other.width, std::numeric_limits<int>::max() - all.width);
    all.depth = std::max(all.depth, other.depth);
  }
  if (!options.out.empty()) check_can_hold(all, options.out, write_options(options.pictures));
  std::vector<Image> images = {read_picture(options.truth, options.pictures)};
  for (const std::string& path : options.others) images.push_back(read_picture(path, options.pictures));
  TextTable table({{"picture"}, {"PSNR dB", Align::right}, {"SSIM", Align::right}});
  std::string json;
  make_comparable(images);
  for (std::size_t i = 1; i < images.size(); ++i) {
    const std::string& path = options.others[i - 1];
    const double decibels = psnr(images[i], images.front()), similarity = ssim(images[i], images.front());
    table.row({printable(path), fixed(decibels, 2), fixed(similarity, 4)});
    json += (json.empty() ? "" : ",") + JsonObject().add("picture", path).add("psnr_db", decibels).add("ssim", similarity).text();
  }
  if (!options.out.empty()) {
    if (std::any_of(images.begin(), images.end(), [](const Image& image) { return image.has_alpha(); })) {
      tell_notes(options.out, {"transparency is shown over white"});
    }
    std::rotate(images.begin(), images.begin() + 1, images.end());  // the truth comes last, next to what should equal it
    write_picture(out, options.out, side_by_side(images), options.pictures);
  }
  if (options.json) {
    out.text() << '[' << json << "]\n";
  } else {
    out.text() << table.text();
  }
  return kExitOk;
}

}  // namespace frieze::tools

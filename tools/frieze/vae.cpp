#include "tools/frieze/vae.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/models/autoencoder.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/note.h"
#include "tools/frieze/outputs.h"
#include "tools/frieze/vae_files.h"
#include "tools/frieze/vae_progress.h"

namespace frieze::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

constexpr std::string_view kRandom = "random:";

const char* name_of(VaeTask task) { return task == VaeTask::encode ? "encode" : task == VaeTask::decode ? "decode" : "roundtrip"; }

struct FileReport {
  std::string in, out;
  std::int64_t height = 0, width = 0;                // of the image
  std::int64_t padded_height = 0, padded_width = 0;  // of what the model saw
  Shape latent;                                      // encode and decode
  std::optional<double> psnr_db;
  double ms = 0;  // its share of what it went through with others

  bool was_padded() const { return height != padded_height || width != padded_width; }
};

AutoencoderOptions autoencoder_options(const VaeOptions& o) {
  AutoencoderOptions options;
  options.parts = o.task == VaeTask::encode   ? AutoencoderPart::encoder
                  : o.task == VaeTask::decode ? AutoencoderPart::decoder
                                              : AutoencoderPart::both;
  options.dtype = parse_float_dtype(o.dtype);
  if (o.weights.starts_with(kRandom)) {
    options.random_seed = parse_seed("--weights random:SEED", o.weights.substr(kRandom.size()));
  } else {
    options.weights = o.weights;
  }
  options.variant = o.variant;
  options.batch = o.batch;
  options.tiling = o.tile;
  options.tile_size = o.tile_size;
  options.tile_stride = o.tile_stride;
  options.compile.passes.rewrite = !o.exact;
  options.compile.passes.without = o.no_rewrites;
  options.compile.allow_tf32 = o.tf32;
  options.compile.tune = !o.no_tune;
  options.compile.max_memory = o.max_memory;
  options.compile.tuning_cache = default_tuning_cache_file().string();
  options.on_note = [](std::string_view note) { tell_note(std::string(note)); };
  return options;
}

// `count` images of `from` from `first` on, and several tensors of one size as one.
HostTensor images_of(const HostTensor& from, std::int64_t first, std::int64_t count) {
  TensorView part = from.view();
  part.shape = Shape{count, part.shape.c(), part.shape.h(), part.shape.w()};
  part.data = static_cast<float*>(part.data) + first * part.strides[0];
  return HostTensor({part.shape, DType::f32}, to_floats(part));
}
HostTensor joined(const std::vector<const HostTensor*>& parts) {
  const Shape& s = parts.front()->spec().shape;
  std::vector<float> values;
  std::int64_t images = 0;
  for (const HostTensor* part : parts) {
    const std::vector<float> more = part->floats();
    values.insert(values.end(), more.begin(), more.end());
    images += part->spec().shape.n();
  }
  return HostTensor({Shape{images, s.c(), s.h(), s.w()}, DType::f32}, values);
}

class Runner {
 public:
  Runner(const VaeOptions& options, std::size_t files)
      : options_(options),
        progress_(files),
        model_(Autoencoder::open(options.model, pick_device(options.device), with_progress(options))) {}

  // The files that are on their way, by index, go through read(), work() and write(), see BatchSteps.
  BatchKey read(const BatchFile& file, std::size_t index) {
    const Clock::time_point start = Clock::now();
    progress_.file(index, options_.task == VaeTask::decode ? "decoding" : "encoding");
    Item item;
    item.report.in = file.in;
    item.report.out = file.out;
    const AutoencoderInfo& info = model_.info();
    if (options_.task == VaeTask::decode) {
      item.original = read_latent_input(file.in, info.latent_channels);
      item.given = std::move(item.original.tensor);
      item.report.latent = item.given.spec().shape;
    } else {
      const bool keeps_alpha = options_.task == VaeTask::roundtrip;
      if (keeps_alpha && !file.out.empty() && format_of_name(file.in) && format_of_name(file.out)) {
        check_can_hold(read_header(file.in, options_.pictures), file.out, write_options(options_.pictures));
      }
      check_bill_of(file.in);
      item.original = read_image_input(file.in, info.image_channels, keeps_alpha, options_.pictures);
      const Shape& s = item.original.tensor.spec().shape;
      item.given = padded(item.original.tensor, info.ratio);
      item.report.height = s.h(), item.report.width = s.w();
      item.report.padded_height = item.given.spec().shape.h(), item.report.padded_width = item.given.spec().shape.w();
    }
    item.report.ms = ms_since(start);
    const Shape& s = item.given.spec().shape;
    const BatchKey key{concat_text(s.h(), 'x', s.w()), item.given.bytes() * 3};
    items_.insert_or_assign(index, std::move(item));
    return key;
  }

  void work(std::span<const std::size_t> files) {
    const Clock::time_point start = Clock::now();
    const auto tile = [this](int done, int total) { progress_.show(done, total); };
    std::vector<const HostTensor*> given;
    for (const std::size_t index : files) given.push_back(&items_.at(index).given);
    HostTensor all;
    if (given.size() > 1) all = joined(given);
    const HostTensor& in = given.size() > 1 ? all : *given.front();
    progress_.what(options_.task == VaeTask::decode ? "decoding" : options_.task == VaeTask::encode ? "encoding" : "encoding and decoding");
    const HostTensor out = options_.task == VaeTask::encode   ? model_.encode(in, tile)
                           : options_.task == VaeTask::decode ? model_.decode(in, tile)
                                                              : model_.roundtrip(in, tile);
    std::int64_t first = 0;
    for (const std::size_t index : files) {
      Item& item = items_.at(index);
      const std::int64_t images = item.given.spec().shape.n();
      item.result = images_of(out, first, images);
      item.report.ms += ms_since(start) / static_cast<double>(files.size());
      first += images;
    }
  }

  FileReport write(const BatchFile& file, std::size_t index, Outputs& outputs) {
    const Clock::time_point start = Clock::now();
    Item item = std::move(items_.at(index));
    items_.erase(index);
    FileReport& report = item.report;
    const Shape s = item.result.spec().shape;
    if (options_.task == VaeTask::encode) {
      report.latent = s;
      write_latent(outputs.open(file.out), item.result, report.height, report.width);
    } else {
      if (options_.task == VaeTask::decode) find_size(item);
      if (report.was_padded()) item.result = cropped(item.result, report.height, report.width);
      if (options_.task == VaeTask::roundtrip) report.psnr_db = psnr(item.original.tensor, item.result);
      if (!file.out.empty()) write_image(outputs, file.out, item.result, item.original.picture, options_.pictures);
    }
    report.ms += ms_since(start);
    images_ += s.n();
    progress_.done(s.n());
    return report;
  }

  void forget(std::size_t index) { items_.erase(index); }
  void hide_progress() { progress_.hide(); }
  const Autoencoder& model() const { return model_; }
  double images_per_second() const { return static_cast<double>(images_) * 1e3 / ms_since(begin_); }

 private:
  struct Item {
    VaeInput original;
    HostTensor given, result;  // of the model
    FileReport report;
  };

  AutoencoderOptions with_progress(const VaeOptions& o) {
    AutoencoderOptions options = autoencoder_options(o);
    options.compile.on_prepared = [this](int ready, int steps) { progress_.compiling(ready, steps); };
    return options;
  }

  // Throws MemoryError for a picture whose plan alone is over the limit, before it is decoded.
  void check_bill_of(const std::string& picture) const {
    if (options_.max_memory == 0 || !format_of_name(picture)) return;
    const Image header = read_header(picture, options_.pictures);
    const AutoencoderInfo& info = model_.info();
    const auto whole = [&](std::int64_t extent) { return ceil_div<std::int64_t>(extent, info.ratio) * info.ratio; };
    const Shape image{1, info.image_channels, whole(header.height), whole(header.width)};
    if (model_.tiles(image.h(), image.w())) return;
    check_bill(model_.planned_memory(model_.options().parts, image), options_.max_memory);
  }

  // Of the image behind a latent: what its file says, if that fits.
  void find_size(Item& item) const {
    const Shape& s = item.result.spec().shape;
    const int f = model_.info().ratio;
    item.report.height = item.report.padded_height = s.h(), item.report.width = item.report.padded_width = s.w();
    const std::int64_t height = item.original.height, width = item.original.width;
    if (height > s.h() - f && height <= s.h() && width > s.w() - f && width <= s.w())
      item.report.height = height, item.report.width = width;
  }

  const VaeOptions& options_;
  VaeProgress progress_;
  Autoencoder model_;
  std::map<std::size_t, Item> items_;
  std::int64_t images_ = 0;
  Clock::time_point begin_ = Clock::now();
};

std::string json_of(const FileReport& r) {
  JsonObject json;
  json.add("in", r.in);
  if (!r.out.empty()) json.add("out", r.out);
  json.add("width", r.width).add("height", r.height).add("padded_width", r.padded_width).add("padded_height", r.padded_height);
  if (r.latent.rank() == 4) json.raw("latent", to_string(r.latent));
  if (r.psnr_db) json.add("psnr_db", *r.psnr_db);
  return json.add("ms", r.ms).text();
}

std::string line_of(const FileReport& r, VaeTask task) {
  std::string text = printable(r.in);
  const std::string size = concat_text(r.width, "x", r.height), model_size = concat_text(r.padded_width, "x", r.padded_height);
  if (task == VaeTask::decode) {
    text += " " + to_string(r.latent) + " -> " + printable(r.out) + " " + size;
    if (r.was_padded()) text += ", cropped from " + model_size + " to the size of the image that was encoded";
  } else {
    text += " " + size;
    if (r.was_padded()) text += " padded to " + model_size + (task == VaeTask::roundtrip ? " and cropped back" : "");
    if (!r.out.empty()) text += " -> " + printable(r.out);
    if (r.latent.rank() == 4) text += " " + to_string(r.latent);
  }
  if (r.psnr_db) text += ", PSNR " + (std::isfinite(*r.psnr_db) ? fixed(*r.psnr_db, 2) + " dB" : "infinite: equal images");
  return text + ", " + fixed(r.ms, 1) + " ms\n";
}

std::string head_text(const VaeOptions& options, const Autoencoder& model) {
  return concat_text("vae ", name_of(options.task), ", ", model.info().name, " on ", model.device().name(), ", ", options.dtype,
                     options.batch > 0 ? concat_text(", batches of ", options.batch) : std::string(), options.exact ? ", exact" : "",
                     options.tf32 ? ", TF32" : "", "\nweights: ", printable(model.info().weights), '\n');
}

std::string head_json(const VaeOptions& options, const Autoencoder& model) {
  JsonObject head;
  head.add("command", name_of(options.task)).add("model", model.info().name).add("device", model.device().name());
  head.add("dtype", options.dtype).add("weights", model.info().weights).add("scaling_factor", model.info().scaling_factor);
  head.add("exact", options.exact).add("tf32", options.tf32).add("batch", options.batch);
  return head.opened();
}

}  // namespace

int vae_command(const VaeOptions& options, Outputs& out) {
  out.reads_checkpoint(options.model);
  if (!options.weights.empty() && !options.weights.starts_with(kRandom)) out.reads_checkpoint(options.weights);
  const Batch batch = list_files(options, out);
  std::optional<Runner> made;
  Runner& runner = made.emplace(options, batch.files.size());
  std::size_t done = 0;
  BatchSteps steps;
  steps.at_once = static_cast<std::size_t>(std::max(options.batch, 1));
  steps.read = [&](const BatchFile& file, std::size_t index) { return runner.read(file, index); };
  steps.work = [&](std::span<const std::size_t> files) { runner.work(files); };
  steps.write = [&](const BatchFile& file, std::size_t index) {
    const FileReport report = runner.write(file, index, out);
    runner.hide_progress();
    // The head comes with the first file that is done: a command that did nothing reports nothing.
    if (options.json) {
      if (done == 0) out.text() << head_json(options, runner.model()) << "\"files\": [";
      out.text() << (done > 0 ? ",\n  " : "") << json_of(report);
    } else {
      if (done == 0) out.text() << head_text(options, runner.model());
      out.text() << line_of(report, options.task);
    }
  };
  steps.done = [&](std::size_t) { ++done; };
  steps.failed = [&](std::size_t index) {
    runner.hide_progress();
    runner.forget(index);
  };
  const int status = run_batch(batch, out, steps);
  if (done == 0) return status;
  const auto captures = static_cast<std::int64_t>(runner.model().captures());
  if (options.json) {
    out.text() << "],\n \"captures\": " << captures << ",\n \"arena_bytes\": " << runner.model().arena_bytes()
               << ",\n \"images_per_s\": " << fixed(runner.images_per_second(), 3) << "}\n";
  } else {
    out.text() << counted(static_cast<std::int64_t>(done), "file") << ", "
               << counted(captures, runner.model().device().is_cuda() ? "capture" : "compiled shape");
    if (batch.skipped > 0) out.text() << ", " << counted(static_cast<std::int64_t>(batch.skipped), "other file") << " left out";
    out.text() << ", " << fixed(runner.images_per_second(), 2) << " images/s\n";
  }
  return status;
}

}  // namespace frieze::tools

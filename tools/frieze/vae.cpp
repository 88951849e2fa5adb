#include "tools/frieze/dcae.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>

#include <frieze/core/error.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/graph/finite.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/graph/session.h>
#include <frieze/models/dc_ae/checkpoint.h>
#include <frieze/models/dc_ae/tiling.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/commands.h"
#include "tools/frieze/dcae_files.h"
#include "tools/frieze/json.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/note.h"
#include "tools/frieze/outputs.h"

namespace frieze::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

// One line on a terminal that is rewritten; nothing elsewhere.
class ProgressBar {
 public:
  explicit ProgressBar(std::size_t files) : files_(files), on_(::isatty(STDERR_FILENO) == 1) {}
  ~ProgressBar() { hide(); }
  void hide() {
    if (std::exchange(shown_, false)) std::cerr << "\r\x1b[K" << std::flush;
  }
  void file(std::size_t index, const char* what) { index_ = index, what_ = what, show(0, 1); }
  void what(const char* what) { what_ = what; }
  void show(int done, int total) {
    draw(done, total, total > 1 ? concat_text(what_, where(), ", tile ", done, " of ", total) : concat_text(what_, where()));
  }
  // Of one shape, the first time that it comes.
  void compiling(int ready, int steps) {
    draw(ready, steps, concat_text("preparing and tuning", where(), ", step ", ready, " of ", steps));
  }

 private:
  std::string where() const { return concat_text(", file ", index_ + 1, " of ", files_); }
  void draw(int done, int total, const std::string& text) {
    if (!on_) return;
    constexpr int kWidth = 30;
    const int filled = kWidth * done / total;
    std::cerr << "\r\x1b[K[" << std::string(static_cast<std::size_t>(filled), '#')
              << std::string(static_cast<std::size_t>(kWidth - filled), '.') << "] " << text << std::flush;
    shown_ = true;
  }

  std::size_t files_, index_ = 0;
  const char* what_ = "";
  bool on_, shown_ = false;
};

struct FileReport {
  std::string in, out;
  std::int64_t height = 0, width = 0;                // of the image
  std::int64_t padded_height = 0, padded_width = 0;  // of what the model saw
  Shape latent;                                      // encode and decode
  std::optional<double> psnr_db;
  double ms = 0;

  bool was_padded() const { return height != padded_height || width != padded_width; }
};

constexpr std::string_view kRandom = "random:";

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Refuses what cannot work before a model of gigabytes is made.
DcAeConfig read_config(const DcaeOptions& o) {
  const bool folder = exists(o.model);
  check<IoError>(folder || o.model.find('/') == std::string::npos, printable(o.model), ": no such folder");
  DcAeConfig config = folder ? read_dc_ae_config(find_dc_ae(o.model).config) : dc_ae_variant(o.model);
  check<OptionError>(folder || !o.weights.empty(), printable(o.model), " is the name of a published variant, and needs --weights");
  check<IoError>(o.weights.empty() || o.weights.starts_with(kRandom) || exists(o.weights), printable(o.weights),
                 ": no such file or folder");
  return config;
}

class Runner {
 public:
  Runner(const DcaeOptions& options, std::size_t files)
      : options_(options),
        dtype_(parse_dtype(options.dtype)),
        device_(pick_device(options.device)),
        model_(make_model(options)),
        tiling_(default_tiling(model_->config)),
        progress_(files) {
    check<OptionError>(!options.tf32 || device_.is_cuda(), "--tf32 needs a CUDA device, this run is on the CPU");
    if (options.tile_size > 0) tiling_.tile = options.tile_size, tiling_.stride = default_stride(options.tile_size);
    if (options.tile_stride > 0) tiling_.stride = options.tile_stride;
    load_weights();
    compile_.passes.rewrite = !options.exact;
    compile_.allow_tf32 = options.tf32;
    compile_.tune = !options.no_tune;
    compile_.tuning_cache = default_tuning_cache_file().string();
    compile_.on_prepared = [this](int ready, int steps) { progress_.compiling(ready, steps); };
  }

  FileReport run(const BatchFile& file, std::size_t index, Outputs& outputs) {
    const Clock::time_point start = Clock::now();
    FileReport report;
    report.in = file.in;
    report.out = file.out;
    switch (options_.task) {
      case DcaeTask::encode: encode_file(file, index, report, outputs); break;
      case DcaeTask::decode: decode_file(file, index, report, outputs); break;
      case DcaeTask::roundtrip: roundtrip_file(file, index, report, outputs); break;
    }
    report.ms = ms_since(start);
    return report;
  }

  std::size_t captures() const {
    std::size_t count = 0;
    for (const std::optional<Engine>* engine : {&encoder_, &decoder_, &both_}) count += *engine ? (*engine)->captures() : 0;
    return count;
  }
  std::int64_t arena_bytes() const {
    std::int64_t bytes = 0;
    for (const std::optional<Engine>* engine : {&encoder_, &decoder_, &both_}) bytes += *engine ? (*engine)->arena_bytes() : 0;
    return bytes;
  }
  const DcAeConfig& config() const { return model_->config; }
  void hide_progress() { progress_.hide(); }
  const Device& device() const { return device_; }
  const std::string& weights_note() const { return weights_note_; }

 private:
  static DcAeParts parts(DcaeTask task) {
    return task == DcaeTask::encode ? DcAeParts::encoder : task == DcaeTask::decode ? DcAeParts::decoder : DcAeParts::both;
  }

  static Weights open_weights(const DcaeOptions& options) {
    return open_dc_ae_weights(options.weights.empty() ? find_dc_ae(options.model).weights : std::filesystem::path(options.weights),
                              options.variant);
  }
  // Without memory for its weights, until their names and shapes are known to fit.
  static std::unique_ptr<DcAe> make_model(const DcaeOptions& options) {
    DcAeConfig config = read_config(options);
    if (!options.weights.starts_with(kRandom)) check_dc_ae_blocks(config, parts(options.task), open_weights(options));
    return std::make_unique<DcAe>(std::move(config), parts(options.task));
  }

  // Seven eighths of a tile, as 448 is of 512.
  int default_stride(int tile) const {
    const int f = model_->config.ratio();
    return std::max(tile / 8 * 7 / f, 1) * f;
  }

  void load_weights() {
    if (!options_.weights.starts_with(kRandom)) {
      weights_note_ = options_.weights.empty() ? options_.model : options_.weights;
      return load_dc_ae(*model_, open_weights(options_));
    }
    const std::uint64_t seed = parse_seed("--weights random:SEED", options_.weights.substr(kRandom.size()));
    init_random(*model_, seed);
    weights_note_ = concat_text("random, seed ", seed, ": for speed and testing, the pictures mean nothing");
  }

  HostTensor run_module(std::optional<Engine>& engine, const Module& module, const HostTensor& in) {
    if (!engine) engine.emplace(module, device_, compile_);
    Session net = engine->session({{"x", in.spec().shape, dtype_}});
    net.input().copy_from(in);
    net.run();
    HostTensor out = net.output().to_host().converted(DType::f32, Format::nchw);
    tell_note(check_finite(net, out.floats()));
    return out;
  }

  bool tiles(std::int64_t height, std::int64_t width) const { return options_.tile && needs_tiles(height, width, tiling_); }

  HostTensor encode(const HostTensor& image) {
    progress_.what("encoding");
    const auto run = [this](const HostTensor& tile) { return run_module(encoder_, *model_->encoder, tile); };
    const Shape& s = image.spec().shape;
    if (!tiles(s.h(), s.w())) return run(image);
    return tiled_encode(image, model_->config, tiling_, run, [this](int done, int total) { progress_.show(done, total); });
  }

  HostTensor decode(const HostTensor& latent) {
    progress_.what("decoding");
    const auto run = [this](const HostTensor& tile) { return run_module(decoder_, *model_->decoder, tile); };
    const Shape& s = latent.spec().shape;
    const int f = model_->config.ratio();
    if (!tiles(s.h() * f, s.w() * f)) return run(latent);
    return tiled_decode(latent, model_->config, tiling_, run, [this](int done, int total) { progress_.show(done, total); });
  }

  // The image, padded to what the model takes.
  HostTensor read_padded(const BatchFile& file, FileReport& report, DcaeInput& original) {
    original = read_image_input(file.in, model_->config.in_channels, options_.task == DcaeTask::roundtrip, options_.pictures);
    const Shape& s = original.tensor.spec().shape;
    HostTensor image = padded(original.tensor, model_->config.ratio());
    report.height = s.h(), report.width = s.w();
    report.padded_height = image.spec().shape.h(), report.padded_width = image.spec().shape.w();
    return image;
  }

  void encode_file(const BatchFile& file, std::size_t index, FileReport& report, Outputs& outputs) {
    progress_.file(index, "encoding");
    DcaeInput original;
    const HostTensor latent = encode(read_padded(file, report, original));
    report.latent = latent.spec().shape;
    write_latent(outputs.open(file.out), latent, report.height, report.width);
  }

  void decode_file(const BatchFile& file, std::size_t index, FileReport& report, Outputs& outputs) {
    progress_.file(index, "decoding");
    const DcaeInput input = read_latent_input(file.in, model_->config.latent_channels);
    report.latent = input.tensor.spec().shape;
    HostTensor image = decode(input.tensor);
    const Shape s = image.spec().shape;
    report.height = report.padded_height = s.h(), report.width = report.padded_width = s.w();
    const int f = model_->config.ratio();
    const bool known = input.height > s.h() - f && input.height <= s.h() && input.width > s.w() - f && input.width <= s.w();
    if (known && (input.height != s.h() || input.width != s.w())) {
      report.height = input.height, report.width = input.width;
      image = cropped(image, report.height, report.width);
    }
    write_image(outputs, file.out, image, {}, options_.pictures);
  }

  void roundtrip_file(const BatchFile& file, std::size_t index, FileReport& report, Outputs& outputs) {
    progress_.file(index, "encoding and decoding");
    DcaeInput original;
    const HostTensor image = read_padded(file, report, original);
    if (!file.out.empty() && format_of_name(file.out)) check_can_hold(original.picture, file.out, write_options(options_.pictures));
    // Without tiles both halves are one graph.
    const bool tiled = tiles(report.padded_height, report.padded_width);
    HostTensor again = tiled ? decode(encode(image)) : run_module(both_, *model_, image);
    if (report.was_padded()) again = cropped(again, report.height, report.width);
    report.psnr_db = psnr(original.tensor, again);
    if (!file.out.empty()) write_image(outputs, file.out, again, original.picture, options_.pictures);
  }

  const DcaeOptions& options_;
  DType dtype_;
  Device device_;
  std::unique_ptr<DcAe> model_;
  DcAeTiling tiling_;
  ProgressBar progress_;
  CompileOptions compile_;
  std::string weights_note_;
  std::optional<Engine> encoder_, decoder_, both_;
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

std::string line_of(const FileReport& r, DcaeTask task) {
  std::string text = printable(r.in);
  const std::string size = concat_text(r.width, "x", r.height), model_size = concat_text(r.padded_width, "x", r.padded_height);
  if (task == DcaeTask::decode) {
    text += " " + to_string(r.latent) + " -> " + printable(r.out) + " " + size;
    if (r.was_padded()) text += ", cropped from " + model_size + " to the size of the image that was encoded";
  } else {
    text += " " + size;
    if (r.was_padded()) text += " padded to " + model_size + (task == DcaeTask::roundtrip ? " and cropped back" : "");
    if (!r.out.empty()) text += " -> " + printable(r.out);
    if (r.latent.rank() == 4) text += " " + to_string(r.latent);
  }
  if (r.psnr_db) text += ", PSNR " + (std::isfinite(*r.psnr_db) ? fixed(*r.psnr_db, 2) + " dB" : "infinite: equal images");
  return text + ", " + fixed(r.ms, 1) + " ms\n";
}

}  // namespace

int dcae_command(const DcaeOptions& options, Outputs& out) {
  out.reads_checkpoint(options.model);
  if (!options.weights.empty() && !options.weights.starts_with(kRandom)) out.reads_checkpoint(options.weights);
  const Batch batch = list_files(options, out);
  std::optional<Runner> runner;
  runner.emplace(options, batch.files.size());
  const std::string task = options.task == DcaeTask::encode ? "encode" : options.task == DcaeTask::decode ? "decode" : "roundtrip";
  const DcAeConfig& config = runner->config();
  std::size_t done = 0;
  const int status = run_batch(batch, out, [&](const BatchFile& file, std::size_t index) {
    const FileReport report = runner->run(file, index, out);
    runner->hide_progress();
    // The head comes with the first file that is done: a command that did nothing reports nothing.
    if (options.json) {
      JsonObject head;
      head.add("command", task).add("model", config.name).add("device", runner->device().name()).add("dtype", options.dtype);
      head.add("weights", runner->weights_note()).add("scaling_factor", config.scaling_factor).add("exact", options.exact);
      head.add("tf32", options.tf32);
      if (done == 0) out.text() << head.opened() << "\"files\": [";
      out.text() << (done > 0 ? ",\n  " : "") << json_of(report);
    } else {
      if (done == 0) {
        out.text() << "dcae " << task << ", " << config.name << " on " << runner->device().name() << ", " << options.dtype
                   << (options.exact ? ", exact" : "") << (options.tf32 ? ", TF32" : "") << '\n'
                   << "weights: " << printable(runner->weights_note()) << '\n';
      }
      out.text() << line_of(report, options.task);
    }
    ++done;
  });
  if (done == 0) return status;
  if (options.json) {
    out.text() << "],\n \"captures\": " << runner->captures() << ",\n \"arena_bytes\": " << runner->arena_bytes() << "}\n";
  } else {
    out.text() << counted(static_cast<std::int64_t>(done), "file") << ", "
               << counted(static_cast<std::int64_t>(runner->captures()), runner->device().is_cuda() ? "capture" : "compiled shape");
    if (batch.skipped > 0) out.text() << ", " << counted(static_cast<std::int64_t>(batch.skipped), "other file") << " left out";
    out.text() << '\n';
  }
  return status;
}

}  // namespace frieze::tools

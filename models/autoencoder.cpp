#include <frieze/models/autoencoder.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <frieze/core/error.h>
#include <frieze/graph/finite.h>
#include <frieze/models/dc_ae/checkpoint.h>
#include <frieze/models/dc_ae/tiling.h>

namespace frieze {
namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

DcAeParts dc_ae_parts(AutoencoderPart part) {
  return part == AutoencoderPart::both ? DcAeParts::both : part == AutoencoderPart::encoder ? DcAeParts::encoder : DcAeParts::decoder;
}

const char* name_of(AutoencoderPart part) { return part == AutoencoderPart::encoder ? "encoder" : "decoder"; }

// Refuses what cannot work before a model of gigabytes is made.
DcAeConfig read_config(const std::filesystem::path& path, const AutoencoderOptions& o) {
  const std::string name = printable(path.string());
  const bool there = is_there(path);
  check<IoError>(there || !path.has_parent_path(), name, ": no such folder");
  DcAeConfig config = there ? read_dc_ae_config(find_dc_ae(path).config) : dc_ae_variant(path.string());
  check<OptionError>(o.weights.empty() || !o.random_seed, name, ": weights and a seed for random ones exclude each other");
  check<OptionError>(there || !o.weights.empty() || o.random_seed, name,
                     " is the name of a published variant, and needs weights from elsewhere (--weights), or random ones");
  check<IoError>(o.weights.empty() || is_there(o.weights), printable(o.weights.string()), ": no such file or folder");
  return config;
}

// `count` images of `from`, from `first` on; past the end, the last one again.
HostTensor images_of(const HostTensor& from, std::int64_t first, std::int64_t count) {
  const Shape& s = from.spec().shape;
  HostTensor out({Shape{count, s.c(), s.h(), s.w()}, DType::f32});
  const auto bytes = static_cast<std::size_t>(s.c() * s.h() * s.w()) * sizeof(float);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto* source = static_cast<const std::byte*>(from.data()) + static_cast<std::size_t>(std::min(first + i, s.n() - 1)) * bytes;
    std::memcpy(static_cast<std::byte*>(out.data()) + static_cast<std::size_t>(i) * bytes, source, bytes);
  }
  return out;
}

void check_view(const char* what, const TensorView& view, const Shape& expected, DType dtype) {
  check<ShapeError>(view.shape == expected, what, ": expected shape ", expected, ", got ", view.shape);
  check<DTypeError>(view.dtype == dtype, what, ": expected ", dtype, ", the type of the run, got ", view.dtype);
  check<OptionError>(view.is_contiguous(Format::nchw), what, ": expected contiguous memory in nchw order");
}

}  // namespace

struct Autoencoder::State {
  Device device;
  AutoencoderOptions options;
  std::shared_ptr<const DcAe> model;
  AutoencoderInfo info;
  std::optional<DcAeTiling> tiling;
  std::array<std::optional<Engine>, 3> engines;  // by part

  const DcAeConfig& config() const { return model->config; }

  // The module of a part, which keeps the whole model alive.
  std::shared_ptr<const Module> module(AutoencoderPart part) const {
    if (part == AutoencoderPart::both) {
      check<OptionError>(model->encoder && model->decoder, "this autoencoder was opened without its ",
                         model->encoder ? "decoder" : "encoder");
      return model;
    }
    const Module* half = nullptr;
    if (part == AutoencoderPart::encoder) half = model->encoder.get();
    if (part == AutoencoderPart::decoder) half = model->decoder.get();
    check<OptionError>(half != nullptr, "this autoencoder was opened without its ", name_of(part));
    return {model, half};
  }

  std::vector<InputSpec> inputs(const Shape& shape) const { return {{"x", shape, options.dtype}}; }

  Session session(AutoencoderPart part, const Shape& input) {
    std::optional<Engine>& engine = engines[static_cast<std::size_t>(part)];
    if (!engine) engine.emplace(module(part), device, options.compile, options.shapes);
    return engine->session(inputs(input));
  }

  // A session whose ports use their own memory: a call on views may have bound others.
  Session own_session(AutoencoderPart part, const Shape& input) {
    Session net = session(part, input);
    net.bind(net.input().name(), nullptr);
    net.bind(net.output().name(), nullptr);
    return net;
  }

  HostTensor run(AutoencoderPart part, const HostTensor& given) {
    const Shape& s = given.spec().shape;
    check<ShapeError>(s.rank() == 4 && s.elements() > 0, info.kind, ": expected a tensor of rank 4 with at least one element, got ", s);
    const HostTensor in = given.converted(DType::f32, Format::nchw);
    const std::int64_t batch = options.batch > 0 ? options.batch : s.n();
    Session net = own_session(part, {batch, s.c(), s.h(), s.w()});
    HostTensor result;
    for (std::int64_t first = 0; first < s.n(); first += batch) {
      if (batch == s.n()) {
        net.input().copy_from(in);
      } else {
        net.input().copy_from(images_of(in, first, batch));
      }
      net.run();
      HostTensor out = net.output().to_host().converted(DType::f32, Format::nchw);
      if (options.check_finite) {
        const std::string note = check_finite(net, out.floats());
        if (!note.empty() && options.on_note) options.on_note(note);
      }
      if (batch == s.n()) return out;
      const Shape& o = out.spec().shape;
      if (first == 0) result = HostTensor({Shape{s.n(), o.c(), o.h(), o.w()}, DType::f32});
      const auto image = static_cast<std::size_t>(o.c() * o.h() * o.w()) * sizeof(float);
      std::memcpy(static_cast<std::byte*>(result.data()) + static_cast<std::size_t>(first) * image, out.data(),
                  static_cast<std::size_t>(std::min(batch, s.n() - first)) * image);
    }
    return result;
  }

  void run(AutoencoderPart part, const TensorView& in, const TensorView& out, cudaStream_t stream) {
    Session net = session(part, in.shape);
    const std::string x = net.input().name(), y = net.output().name();
    // The old output may lie where the new input does.
    net.bind(y, nullptr);
    net.bind(x, in.data);
    net.bind(y, out.data);
    net.launch(stream);
  }

  DcAeTiling make_tiling(int size, int stride) const {
    DcAeTiling t = default_tiling(config());
    const int f = config().ratio();
    if (size > 0) t.tile = size, t.stride = std::max(size / 8 * 7 / f, 1) * f;  // as 448 is of 512
    if (stride > 0) t.stride = stride;
    check<OptionError>(t.stride > 0 && t.stride <= t.tile && t.tile % f == 0 && t.stride % f == 0,
                       "tiles need 0 < stride <= size, both multiples of ", f, ", got size ", t.tile, " and stride ", t.stride);
    return t;
  }
};

Autoencoder::Autoencoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Autoencoder::Autoencoder(Autoencoder&&) noexcept = default;
Autoencoder& Autoencoder::operator=(Autoencoder&&) noexcept = default;
Autoencoder::~Autoencoder() = default;

Autoencoder::State& Autoencoder::state() const {
  check<OptionError>(state_ != nullptr, "this autoencoder was moved from");
  return *state_;
}

Autoencoder Autoencoder::open(const std::filesystem::path& path, Device device, AutoencoderOptions options) {
  check<OptionError>(!options.compile.allow_tf32 || device.is_cuda(), "TF32 needs a CUDA device, this run is on the CPU");
  check<OptionError>(!is_integer(options.dtype), "dtype: expected f32, f16 or bf16, got ", options.dtype);
  check<OptionError>(options.batch >= 0, "batch: expected 0 or more images, got ", options.batch);
  check<OptionError>(options.shapes >= 1, "shapes: expected at least 1, got ", options.shapes);
  DcAeConfig config = read_config(path, options);
  const std::filesystem::path from = !options.weights.empty() ? options.weights : is_there(path) ? find_dc_ae(path).weights : "";
  std::error_code ignored;
  check<OptionError>(options.variant.empty() || (!options.random_seed && std::filesystem::is_directory(from, ignored)), "variant ",
                     printable(options.variant), ": names one of several checkpoints in a folder, and these weights are in none");
  AutoencoderInfo info{.kind = "AutoencoderDC",
                       .name = config.name,
                       .weights = {},
                       .config = is_there(path) ? find_dc_ae(path).config : std::filesystem::path(),
                       .image_channels = config.in_channels,
                       .latent_channels = config.latent_channels,
                       .ratio = config.ratio(),
                       .scaling_factor = config.scaling_factor};
  const DcAeParts parts = dc_ae_parts(options.parts);
  std::shared_ptr<DcAe> model;
  if (options.random_seed) {
    model = std::make_shared<DcAe>(std::move(config), parts);
    init_random(*model, *options.random_seed);
    info.weights = concat_text("random, seed ", *options.random_seed, ": for speed and testing, the pictures mean nothing");
  } else {
    const Weights weights = open_dc_ae_weights(from, options.variant);
    check_dc_ae_blocks(config, parts, weights);  // a config of millions of blocks costs nothing
    model = std::make_shared<DcAe>(std::move(config), parts);
    load_dc_ae(*model, weights);
    info.weights = (options.weights.empty() ? path : options.weights).string();
  }
  auto state = std::make_unique<State>(State{std::move(device), std::move(options), std::move(model), std::move(info), {}, {}});
  const AutoencoderOptions& o = state->options;
  if (o.tiling) state->tiling = state->make_tiling(o.tile_size, o.tile_stride);
  return Autoencoder(std::move(state));
}

const AutoencoderInfo& Autoencoder::info() const { return state().info; }
const AutoencoderOptions& Autoencoder::options() const { return state().options; }
const Device& Autoencoder::device() const { return state().device; }

HostTensor Autoencoder::encode(const HostTensor& image, const Progress& progress) {
  State& s = state();
  const Shape& shape = image.spec().shape;
  const auto run = [&s](const HostTensor& tile) { return s.run(AutoencoderPart::encoder, tile); };
  if (shape.rank() != 4 || !tiles(shape.h(), shape.w())) return run(image);
  return tiled_encode(image.converted(DType::f32, Format::nchw), s.config(), *s.tiling, run, progress);
}

HostTensor Autoencoder::decode(const HostTensor& latent, const Progress& progress) {
  State& s = state();
  const Shape& shape = latent.spec().shape;
  const auto run = [&s](const HostTensor& tile) { return s.run(AutoencoderPart::decoder, tile); };
  if (shape.rank() != 4 || !tiles(shape.h() * s.info.ratio, shape.w() * s.info.ratio)) return run(latent);
  return tiled_decode(latent.converted(DType::f32, Format::nchw), s.config(), *s.tiling, run, progress);
}

HostTensor Autoencoder::roundtrip(const HostTensor& image, const Progress& progress) {
  State& s = state();
  const Shape& shape = image.spec().shape;
  if (shape.rank() == 4 && tiles(shape.h(), shape.w())) return decode(encode(image, progress), progress);
  return s.run(AutoencoderPart::both, image);
}

void Autoencoder::encode(const TensorView& image, const TensorView& latent, cudaStream_t stream) {
  State& s = state();
  check_view("image", image, image.shape, s.options.dtype);
  check_view("latent", latent, latent_shape(image.shape), s.options.dtype);
  s.run(AutoencoderPart::encoder, image, latent, stream);
}

void Autoencoder::decode(const TensorView& latent, const TensorView& image, cudaStream_t stream) {
  State& s = state();
  check_view("latent", latent, latent.shape, s.options.dtype);
  check_view("image", image, image_shape(latent.shape), s.options.dtype);
  s.run(AutoencoderPart::decoder, latent, image, stream);
}

Shape Autoencoder::latent_shape(const Shape& image) const {
  const AutoencoderInfo& i = info();
  check<ShapeError>(image.rank() == 4 && image.c() == i.image_channels && image.elements() > 0, i.kind, " encodes [N,", i.image_channels,
                    ",H,W], got ", image);
  check<ShapeError>(image.h() % i.ratio == 0 && image.w() % i.ratio == 0, i.kind,
                    " encodes images whose height and width are multiples of ", i.ratio, ", got ", image);
  return {image.n(), i.latent_channels, image.h() / i.ratio, image.w() / i.ratio};
}

Shape Autoencoder::image_shape(const Shape& latent) const {
  const AutoencoderInfo& i = info();
  check<ShapeError>(latent.rank() == 4 && latent.c() == i.latent_channels && latent.elements() > 0, i.kind, " decodes [N,",
                    i.latent_channels, ",h,w], got ", latent);
  return {latent.n(), i.image_channels, checked_mul(latent.h(), i.ratio, "height"), checked_mul(latent.w(), i.ratio, "width")};
}

void Autoencoder::enable_tiling(int size, int stride) { state().tiling = state().make_tiling(size, stride); }
void Autoencoder::disable_tiling() { state().tiling.reset(); }
bool Autoencoder::tiles(std::int64_t height, std::int64_t width) const {
  return state().tiling && needs_tiles(height, width, *state().tiling);
}

Session Autoencoder::session(AutoencoderPart part, const Shape& input) { return state().own_session(part, input); }

MemoryBill Autoencoder::planned_memory(AutoencoderPart part, const Shape& input) const {
  const State& s = state();
  const std::shared_ptr<const Module> module = s.module(part);
  const Plan plan = optimize(trace(*module, s.inputs(input)), s.options.compile.passes);
  MemoryBill bill;
  bill.arena = plan_memory(plan, {}).arena_bytes;
  for (const auto* ports : {&plan.inputs, &plan.outputs}) {
    for (const PlanPort& port : *ports) bill.ports += plan.spec(port.value).bytes();
  }
  const std::int64_t element = s.device.is_cuda() ? static_cast<std::int64_t>(size_of(s.options.dtype)) : 4;  // the reference keeps f32
  module->visit_parameters([&](const std::string&, const Parameter& p) { bill.weights += p.shape.elements() * element; });
  return bill;
}

std::size_t Autoencoder::captures() const {
  std::size_t count = 0;
  for (const std::optional<Engine>& engine : state().engines) count += engine ? engine->captures() : 0;
  return count;
}

std::int64_t Autoencoder::arena_bytes() const {
  std::int64_t bytes = 0;
  for (const std::optional<Engine>& engine : state().engines) bytes += engine ? engine->arena_bytes() : 0;
  return bytes;
}

}  // namespace frieze

// The models that come along, as Python calls them.
#include "tools/python/models.h"

#include <frieze/core/error.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/verify.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

namespace frieze::python {
namespace {

AutoencoderPart parse_part(const std::string& text) {
  if (text == "both") return AutoencoderPart::both;
  if (text == "encoder") return AutoencoderPart::encoder;
  if (text == "decoder") return AutoencoderPart::decoder;
  throw OptionError("parts: expected both, encoder or decoder, got '" + text + "'");
}

}  // namespace

PyAutoencoder::PyAutoencoder(const std::string& path, const std::string& device, const AutoencoderOptions& options)
    : device_(parse_device(device)) {
  const nb::gil_scoped_release work;
  model_.emplace(Autoencoder::open(path, device_.device, options));
  info_ = model_->info();
}

Autoencoder& PyAutoencoder::model() {
  process_.check("this autoencoder");
  check<Error>(model_.has_value(), "this autoencoder was closed");
  return *model_;
}

void PyAutoencoder::run(bool encode, const Array& in, const Output& out, std::uintptr_t stream) {
  const char* const from = encode ? "image" : "latent";
  const char* const to = encode ? "latent" : "image";
  const TensorView x = view_of(in, from), y = view_of(out, to);
  // Host arrays are taken on every device, as the library does: in batches and tiles.
  const auto on_host = [](int type) { return type == nb::device::cpu::value || type == nb::device::cuda_host::value; };
  const bool host = on_host(in.device_type()) && on_host(out.device_type());
  if (!host) {
    check_device(in.device_type(), in.device_id(), from, device_);
    check_device(out.device_type(), out.device_id(), to, device_);
  }
  const nb::gil_scoped_release work;
  const std::lock_guard lock(mutex_);
  Autoencoder& net = model();
  if (!host) {
    const auto on = reinterpret_cast<cudaStream_t>(stream);
    return encode ? net.encode(x, y, on) : net.decode(x, y, on);
  }
  const HostTensor given = host_copy(x);
  write_host(encode ? net.encode(given) : net.decode(given), y, to);
}

void PyAutoencoder::enable_tiling(int size, int stride) {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  model().enable_tiling(size, stride);
}

void PyAutoencoder::disable_tiling() {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  model().disable_tiling();
}

bool PyAutoencoder::tiles(std::int64_t height, std::int64_t width) {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  return model().tiles(height, width);
}

std::string PyAutoencoder::text(const std::string& what, const std::string& part, const nb::tuple& input, int number) {
  const Shape shape = shape_of(input);
  const AutoencoderPart of = parse_part(part);
  const nb::gil_scoped_release work;
  const std::lock_guard lock(mutex_);
  Session net = model().session(of, shape);
  if (what == "receipt") return net.receipt().json();
  if (what == "verify") return verify(net, {.seed = static_cast<std::uint64_t>(number)}).json();
  if (what == "profile") return profile(net, {.rounds = number}).json();
  throw OptionError("unknown report '" + what + "'");
}

nb::dict PyAutoencoder::planned_memory(const std::string& part, const nb::tuple& input) {
  const Shape shape = shape_of(input);
  const AutoencoderPart of = parse_part(part);
  MemoryBill bill;
  {
    const nb::gil_scoped_release work;
    const std::lock_guard lock(mutex_);
    bill = model().planned_memory(of, shape);
  }
  nb::dict result;
  result["weights"] = bill.weights;
  result["arena"] = bill.arena;
  result["ports"] = bill.ports;
  result["total"] = bill.total();
  return result;
}

std::size_t PyAutoencoder::captures() {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  return model().captures();
}

void PyAutoencoder::close() {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  model_.reset();
}

PyDenoiser::PyDenoiser(const std::string& device, const DenoiseOptions& options) : device_(parse_device(device)) {
  const nb::gil_scoped_release work;
  model_.emplace(device_.device, options);
}

void PyDenoiser::run(const Array& x, const Output& out, std::optional<double> limit_sigma) {
  const TensorView from = view_of(x, "x"), to = view_of(out, "out");
  const NamedDevice host = parse_device("cpu");
  check_device(x.device_type(), x.device_id(), "x", host);
  check_device(out.device_type(), out.device_id(), "out", host);
  const Shape& s = from.shape;
  check<ShapeError>(s.rank() == 4 && s.c() == 3 && s.elements() > 0, "x: expected [N,3,H,W] with at least one pixel, got ", s);
  check<ShapeError>(to.shape == s, "out: expected the shape of x, ", s, ", got ", to.shape);
  check<ShapeError>(s.h() <= (1 << 20) && s.w() <= (1 << 20), "x: expected at most ", 1 << 20, " pixels along an edge, got ", s);
  check<OptionError>(!limit_sigma || (*limit_sigma >= 0 && *limit_sigma <= 255), "limit_sigma: expected 0 to 255, in levels of 255, got ",
                     limit_sigma.value_or(0));
  const nb::gil_scoped_release work;
  const std::lock_guard lock(mutex_);
  process_.check("this denoiser");
  check<Error>(model_.has_value(), "this denoiser was closed");
  const std::vector<float> all = to_floats(from);
  std::vector<float> clean;
  const auto image = static_cast<std::size_t>(s.c() * s.h() * s.w());
  for (std::size_t i = 0; i < static_cast<std::size_t>(s.n()); ++i) {
    const std::span<const float> noisy(all.data() + i * image, image);
    std::vector<float> one = (*model_)(noisy, {static_cast<int>(s.h()), static_cast<int>(s.w())});
    if (limit_sigma) limit_removed(noisy, one, *limit_sigma / 255);
    clean.insert(clean.end(), one.begin(), one.end());
  }
  from_floats(clean, to);
}

void PyDenoiser::close() {
  const nb::gil_scoped_release wait;
  const std::lock_guard lock(mutex_);
  model_.reset();
}

void bind_models(nb::module_& m) {
  nb::class_<PyAutoencoder>(m, "Autoencoder", "What frieze.Autoencoder stands on.")
      .def(
          "__init__",
          [](PyAutoencoder* self, const std::string& path, const std::string& device, const std::string& dtype, const std::string& parts,
             const std::string& weights, const std::string& variant, std::optional<std::uint64_t> random_seed, int batch,
             std::size_t shapes, bool exact, bool tf32, bool tune, std::int64_t max_memory) {
            AutoencoderOptions o;
            o.parts = parse_part(parts);
            o.dtype = parse_dtype(dtype);
            o.weights = weights;
            o.variant = variant;
            o.random_seed = random_seed;
            o.batch = batch;
            o.shapes = shapes;
            o.compile.passes.rewrite = !exact;
            o.compile.allow_tf32 = tf32;
            o.compile.tune = tune;
            o.compile.max_memory = max_memory;
            o.compile.on_warning = warn;
            o.on_note = warn;
            new (self) PyAutoencoder(path, device, o);
          },
          nb::arg("path"), nb::arg("device"), nb::arg("dtype"), nb::arg("parts"), nb::arg("weights"), nb::arg("variant"),
          nb::arg("random_seed").none(), nb::arg("batch"), nb::arg("shapes"), nb::arg("exact"), nb::arg("tf32"), nb::arg("tune"),
          nb::arg("max_memory"))
      .def("run", &PyAutoencoder::run, nb::arg("encode"), nb::arg("input"), nb::arg("out"), nb::arg("stream"),
           "encode or decode into an array of the caller.")
      .def("enable_tiling", &PyAutoencoder::enable_tiling, nb::arg("size"), nb::arg("stride"), "0: the default.")
      .def("disable_tiling", &PyAutoencoder::disable_tiling)
      .def("tiles", &PyAutoencoder::tiles, nb::arg("height"), nb::arg("width"), "True if an image of this size is cut into tiles.")
      .def("text", &PyAutoencoder::text, nb::arg("what"), nb::arg("part"), nb::arg("input"), nb::arg("number"), "A report as JSON.")
      .def("planned_memory", &PyAutoencoder::planned_memory, nb::arg("part"), nb::arg("input"), "Bytes: weights, arena, ports, total.")
      .def("captures", &PyAutoencoder::captures, "Graphs compiled so far.")
      .def("close", &PyAutoencoder::close, "Gives memory back; every later call raises Error.")
      .def_prop_ro("device", [](const PyAutoencoder& a) { return a.device(); })
      .def_prop_ro("config_file", [](const PyAutoencoder& a) { return a.info().config.string(); })
      .def_prop_ro("kind", [](const PyAutoencoder& a) { return a.info().kind; })
      .def_prop_ro("name", [](const PyAutoencoder& a) { return a.info().name; })
      .def_prop_ro("image_channels", [](const PyAutoencoder& a) { return a.info().image_channels; })
      .def_prop_ro("latent_channels", [](const PyAutoencoder& a) { return a.info().latent_channels; })
      .def_prop_ro("ratio", [](const PyAutoencoder& a) { return a.info().ratio; })
      .def_prop_ro("scaling_factor", [](const PyAutoencoder& a) { return a.info().scaling_factor; });
  nb::class_<PyDenoiser>(m, "Denoiser", "What frieze.Denoiser stands on.")
      .def(
          "__init__",
          [](PyDenoiser* self, const std::string& device, const std::string& dtype, int tile, std::int64_t max_memory, bool tune) {
            DenoiseOptions o;
            o.dtype = parse_dtype(dtype);
            o.tile = tile;
            o.max_memory = max_memory;
            o.tune = tune;
            new (self) PyDenoiser(device, o);
          },
          nb::arg("device"), nb::arg("dtype"), nb::arg("tile"), nb::arg("max_memory"), nb::arg("tune"))
      .def("run", &PyDenoiser::run, nb::arg("x"), nb::arg("out"), nb::arg("limit_sigma").none(),
           "Into an array of the caller, on the host.")
      .def("close", &PyDenoiser::close, "Gives memory back; every later call raises Error.")
      .def_prop_ro("device", [](const PyDenoiser& d) { return d.device(); });
}

}  // namespace frieze::python

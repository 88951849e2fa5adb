#include "tools/frieze/bench_op.h"

#include <cmath>
#include <limits>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/core/tuning_cache.h>
#include <frieze/core/version.h>
#include <frieze/graph/report/text_table.h>

#include "tools/frieze/arguments.h"
#include "tools/frieze/bench_layer.h"
#include "tools/frieze/commands.h"
#include "tools/frieze/json.h"

namespace frieze::tools {
namespace {

BenchCase parse_shape(std::string_view text, DType fallback) {
  const std::string_view whole = text;
  const auto refuse = [&](bool ok) {
    check<OptionError>(ok, "--shapes: expected NxCxHxW or NxCxHxW:DTYPE with extents of at least 1, got '", whole, "'");
  };
  BenchCase c;
  c.dtype = fallback;
  if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    c.dtype = parse_float_dtype(text.substr(colon + 1));
    text = text.substr(0, colon);
  }
  std::vector<std::int64_t> extents;
  for (bool more = true; more;) {
    const std::size_t end = std::min(text.find('x'), text.size());
    try {
      extents.push_back(parse_whole("--shapes", text.substr(0, end), 1, std::numeric_limits<std::int64_t>::max()));
    } catch (const OptionError&) {
      refuse(false);  // which shows the whole shape
    }
    more = end < text.size();
    text.remove_prefix(more ? end + 1 : end);
  }
  refuse(extents.size() == 4);
  c.shape = Shape(extents);
  (void)TensorSpec{c.shape, c.dtype}.bytes();  // ShapeError past 2^63
  return c;
}

std::string shape_text(const Shape& s) { return concat_text(s.n(), 'x', s.c(), 'x', s.h(), 'x', s.w()); }

BenchSettings parse_settings(const BenchOpOptions& options) {
  BenchSettings s;
  check<OptionError>(options.tensors.empty() && options.settings.empty() && options.then.empty() && !options.no_check,
                     "bench-op rms_norm2d takes --affine, --activation and --residual instead of --tensor, --set, --then and --no-check");
  check<OptionError>(options.affine == "none" || options.affine == "weight" || options.affine == "weight+bias", "unknown affine '",
                     options.affine, "': expected one of none, weight, weight+bias");
  check<OptionError>(options.rounds >= 1, "--rounds must be at least 1, got ", options.rounds);
  s.options.weight = options.affine != "none";
  s.options.bias = options.affine == "weight+bias";
  s.options.activation = parse_activation(options.activation);
  s.options.residual = parse_residual_mode(options.residual);
  s.tune = !options.no_tune;
  s.rounds = options.rounds;
  return s;
}

std::vector<BenchCase> parse_cases(const BenchOpOptions& options) {
  const DType fallback = options.dtype.empty() ? DType::bf16 : parse_float_dtype(options.dtype);
  std::vector<Format> formats = {Format::nchw, Format::nhwc};
  if (!options.format.empty()) formats = {parse_format(options.format)};
  std::vector<BenchCase> cases;
  for (BenchCase c : parse_bench_shapes(options.shapes.empty() ? default_bench_shapes() : options.shapes, fallback)) {
    if (options.shapes.empty() && !options.dtype.empty()) c.dtype = fallback;
    for (const Format format : formats) {
      c.format = format;
      cases.push_back(c);
    }
  }
  return cases;
}

std::string time_json(const BenchTime& t) {
  return JsonObject().add("median", t.median).add("lowest", t.lowest).add("highest", t.highest).text();
}

std::string result_json(const BenchResult& r) {
  JsonObject json;
  json.add("shape", shape_text(r.bench_case.shape)).add("dtype", name(r.bench_case.dtype)).add("format", name(r.bench_case.format));
  json.add("kernel", r.kernel);
  if (!r.skipped.empty()) return json.add("skipped", r.skipped).text();
  json.add("cold", r.cold)
      .add("buffers", r.buffers)
      .add("launches", r.launches)
      .raw("us", time_json(r.time))
      .raw("copy_kernel_us", time_json(r.copy_kernel));
  json.raw("memcpy_us", time_json(r.copy_node)).add("bytes", r.bytes).add("gb_s", r.gigabytes_per_second()).add("floor_us", r.floor_us);
  return json.add("ratio", r.ratio())
      .add("max_ulp", r.max_ulp)
      .add("correctly_rounded", r.correctly_rounded)
      .add("checked", r.checked)
      .text();
}

std::string csv_text(const std::vector<BenchResult>& results) {
  std::string text =
      "shape,dtype,format,us,spread,copy_kernel_us,memcpy_us,floor_us,ratio,gb_s,max_ulp,correctly_rounded,buffers,launches,kernel,"
      "skipped\n";
  const auto quoted = [](const std::string& field) {
    std::string out = "\"";
    for (const char c : field) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + '"';
  };
  for (const BenchResult& r : results) {
    text += concat_text(shape_text(r.bench_case.shape), ',', r.bench_case.dtype, ',', r.bench_case.format, ',', r.time.median, ',',
                        r.time.spread(), ',', r.copy_kernel.median, ',', r.copy_node.median, ',', r.floor_us, ',', r.ratio(), ',',
                        r.gigabytes_per_second(), ',', r.max_ulp, ',', r.correctly_rounded, ',', r.buffers, ',', r.launches, ',',
                        quoted(r.kernel), ',', quoted(r.skipped), '\n');
  }
  return text;
}

std::string table_text(const std::vector<BenchResult>& results) {
  TextTable table({{"shape"},
                   {"type"},
                   {"format"},
                   {"us", Align::right},
                   {"spread", Align::right},
                   {"GB/s", Align::right},
                   {"copy us", Align::right},
                   {"ratio", Align::right},
                   {"max ulp", Align::right},
                   {"rounded right", Align::right},
                   {"kernel"}});
  for (const BenchResult& r : results) {
    const std::string shape = shape_text(r.bench_case.shape), dtype(name(r.bench_case.dtype)), format(name(r.bench_case.format));
    if (!r.skipped.empty()) {
      table.row({shape, dtype, format, "-", "-", "-", "-", "-", "-", "-", r.skipped});
      continue;
    }
    table.row({shape, dtype, format, fixed(r.time.median, 2), fixed(100 * r.time.spread(), 1) + " %", fixed(r.gigabytes_per_second(), 0),
               fixed(r.floor_us, 2), fixed(r.ratio(), 3) + (r.cold ? "" : " (warm)"), fixed(r.max_ulp, 2),
               fixed(100 * r.correctly_rounded, 3) + " %", r.kernel});
  }
  return table.text();
}

void write_profile(const BenchOpOptions& options, const std::vector<BenchResult>& results, std::ostream& out) {
  if (options.csv) out << "shape,dtype,format,kernel\n";
  for (const BenchResult& r : results) {
    const std::string line = concat_text(shape_text(r.bench_case.shape), ',', r.bench_case.dtype, ',', r.bench_case.format);
    out << line << ",\"" << (r.skipped.empty() ? r.kernel : "skipped: " + r.skipped) << "\"\n";
  }
}

}  // namespace

std::vector<BenchCase> parse_bench_shapes(const std::string& text, DType fallback) {
  std::vector<BenchCase> cases;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    cases.push_back(parse_shape(std::string_view(text).substr(begin, end - begin), fallback));
    begin = end + 1;
  }
  return cases;
}

const char* default_bench_shapes() {
  return "112x64x512x512:f32,"  // KernelBench level 1 problem 36
         "112x64x512x512:bf16,1x128x1024x1024:bf16,1x256x512x512:bf16,1x512x256x256:bf16,1x512x128x128:bf16,1x512x64x64:bf16,"
         "1x1024x64x64:bf16,1x1024x32x32:bf16,1x2048x64x64:bf16,16x64x256x256:f32,1x256x512x512:f32,"
         // Odd sizes, and channel counts of other networks.
         "1x3x1023x1025:bf16,2x48x513x511:bf16,1x96x300x301:bf16,4x192x127x129:bf16,1x320x96x96:bf16,1x640x48x48:bf16,"
         "2x1280x24x24:bf16,1x4096x32x32:bf16";
}

int bench_op_command(const BenchOpOptions& options, std::ostream& out) {
  if (options.layer != "rms_norm2d") return bench_layer_command(options, out);
  const BenchSettings settings = parse_settings(options);
  const std::vector<BenchCase> cases = parse_cases(options);
  const std::string device = use_bench_device(options.device);
  const TuningCacheScope cache(default_tuning_cache_file());
  std::vector<BenchResult> results;
  for (const BenchCase& c : cases) results.push_back(options.profile ? profile_rms_norm2d(c, settings) : bench_rms_norm2d(c, settings));

  if (options.profile) {
    write_profile(options, results, out);
  } else if (options.csv) {
    out << csv_text(results);
  } else if (options.json) {
    std::string rows;
    for (const BenchResult& r : results) rows += (rows.empty() ? "" : ",\n  ") + result_json(r);
    out << JsonObject()
               .add("layer", options.layer)
               .add("device", device)
               .add("version", version())
               .add("commit", commit())
               .add("cuda", cuda_toolkit_version())
               .add("protocol", "cold")
               .add("rounds", options.rounds)
               .add("affine", options.affine)
               .add("activation", options.activation)
               .add("residual", options.residual)
               .add("tuned", !options.no_tune)
               .raw("results", "[\n  " + rows + "]")
               .text()
        << '\n';
  } else {
    out << options.layer << " on " << device << ", affine " << options.affine << ", activation " << options.activation << ", residual "
        << options.residual << (options.no_tune ? ", not tuned" : "") << '\n'
        << table_text(results) << "cold: one graph over more than twice the L2 cache; medians of " << counted(options.rounds, "round")
        << "\nratio: the better of copy kernel and cudaMemcpyAsync in the same rounds"
        << (settings.options.residual == ResidualMode::none ? "" : ", times 1.5,") << " / the layer; spread: (highest - lowest) / median\n";
  }
  return kExitOk;
}

}  // namespace frieze::tools

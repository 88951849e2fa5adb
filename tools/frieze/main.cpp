// The frieze command line: options here, work in the file of each subcommand. CLI11 is included here and in vae_cli.cpp only, through
// cli_options.h.
#include "tools/frieze/cli_options.h"

#include <iostream>
#include <new>

#include <frieze/core/error.h>

#include "tools/frieze/commands.h"
#include "tools/frieze/model_registry.h"
#include "tools/frieze/outputs.h"
#include "tools/frieze/signals.h"
#include "tools/frieze/vae.h"

namespace frieze::tools {
namespace {

constexpr const char* kOverview =
    "Frieze runs deep-learning models as one CUDA graph, and proves the result against a reference in double precision.\n"
    "Every command works without a GPU, on the CPU.\n";

constexpr const char* kExamples =
    "Examples:\n"
    "  frieze denoise photo.jpg -o clean.png          with trained weights that are part of the program\n"
    "  frieze run quickstart --in photo.png --out sharper.png\n"
    "  frieze verify quickstart --dtype bf16          is the GPU's answer right, layer by layer?\n"
    "  frieze inspect quickstart --size 1024x768      steps, shapes, bytes, memory, captured graph\n"
    "  frieze bench quickstart --json                 what does one run cost, host and device?\n"
    "  frieze profile quickstart                      where does the time of a replay go, and what is the least it could take?\n"
    "  frieze bench-op rms_norm2d --shapes 1x512x64x64    how near to a copy is the kernel?\n"
    "  frieze vae roundtrip --model DIR --in photo.png --out again.png\n"
    "  frieze op rms_norm2d --in x.safetensors --out y.safetensors --set eps=1e-6\n"
    "\n"
    "Exit status: 0 success, 1 verify found a difference or some files of several failed, 2 an error, told in one line on stderr.\n"
    "`frieze COMMAND --help` says more.";

std::string model_list() {
  std::string text = "Models:\n";
  for (const ModelEntry& entry : models()) text += "  " + std::string(entry.name) + "  " + std::string(entry.summary) + "\n";
  return text + "  dcae:MODEL, dcae-encoder:MODEL, dcae-decoder:MODEL  DC-AE, see frieze vae --help\n";
}

void add_load_options(CLI::App* command, LoadOptions& o, CLI::Option* weights) {
  add_text(command, "--prefix", o.prefix, "Of --weights, only tensors whose names begin with these parts, without them: vae")
      ->needs(weights);
  add_texts(command, "--ignore", o.ignore, "Of --weights, leave out tensors whose names fit, * and ? as wildcards; repeatable")
      ->needs(weights);
  const auto read = [&o](const CLI::results_t& results) {
    for (const std::string& text : results) {
      const std::size_t middle = parse_text("--rename", text).find('=');
      check<OptionError>(middle != std::string::npos && middle > 0, "--rename: expected FROM=TO, got '", text, "'");
      o.rename.emplace_back(text.substr(0, middle), text.substr(middle + 1));
    }
    return true;
  };
  command
      ->add_option("--rename", read,
                   "Of --weights, call tensors otherwise: a path (stem=conv1), or a pattern (*.gamma=*.weight); repeatable")
      ->type_name("FROM=TO")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->needs(weights);
  command->add_flag("--allow-unused", o.allow_unused, "--weights may hold tensors that the model does not use")->needs(weights);
}

void add_model_options(CLI::App* command, ModelOptions& o, bool photo_required) {
  add_text(command, "model", o.model, "Name of the model")->required();
  add_text(command, "--device", o.device, "auto, cpu, reference, cuda or cuda:N; auto takes the first GPU if there is one");
  add_text(command, "--dtype", o.dtype, "f32, f16 or bf16: the type of weights and values");
  CLI::Option* weights =
      add_text(command, "--weights", o.weights, "A .safetensors file or folder with the weights, instead of the model's own");
  add_text(command, "--variant", o.variant, "Of several checkpoints in a folder the one of this variant, e.g. fp16");
  add_seed(command, "--random-weights", o.random_seed, "Random weights from this seed, instead of the model's own")->excludes(weights);
  add_load_options(command, o.load, weights);
  CLI::Option* photo = add_text(command, "--in", o.photo, "The picture to run on, PNG or JPEG");
  if (photo_required) {
    photo->required();
    add_writing_options(command, o.pictures);
  } else {
    const auto size = [&o](const std::string& label, const std::string& text) {
      const PictureSize parsed = parse_size(label, text);
      o.width = parsed.width, o.height = parsed.height;
    };
    add_parsed(command, "--size", "WIDTHxHEIGHT of a random input, without --in [512x384]", "SIZE", size)->excludes(photo);
  }
  add_reading_options(command, o.pictures);
  command->add_flag("--tf32", o.tf32, "Let f32 matrix products on the GPU use TF32: faster, about three digits");
  add_no_rewrite(command, o.no_rewrites);
  command->add_flag("--no-tune", o.no_tune, "Default kernels, instead of the fastest found or cached");
  add_bytes(command, "--max-memory", o.max_memory, "Refuse, with the bill, what would hold more on the device, e.g. 512M or 1.5G");
  command->add_flag("--json", o.json, "Report as JSON");
  command->footer(model_list());
}

CLI::App* add_bench_op(CLI::App& app, BenchOpOptions& o) {
  CLI::App* command = app.add_subcommand("bench-op", "Time one layer's kernel on a GPU against a copy of the same bytes");
  add_text(command, "layer", o.layer, "One of frieze op --list, or all: memory-bound layers over 64 MB and more")->required();
  add_text(command, "--shapes", o.shapes, "Of x: NxCxHxW or NxCxHxW:DTYPE, separated by commas; a table of its own if left out");
  add_texts(command, "--tensor", o.tensors, "NAME=SHAPE or NAME=SHAPE:DTYPE, another tensor as frieze op would read it, repeatable");
  add_texts(command, "--set", o.settings, "key=value for the layer, repeatable");
  add_texts(command, "--then", o.then, "A step that the kernel applies at its store, as of frieze op, repeatable");
  add_whole(command, "--below", o.below, 1, 2147483647, "Integer tensors hold numbers from 0 to N-1");
  add_text(command, "--dtype", o.dtype,
           "f32, f16 or bf16, of shapes that name none; with the table, of all [bf16, f32 where the table says so]");
  add_text(command, "--format", o.format, "nchw or nhwc [both]");
  add_text(command, "--affine", o.affine, "Of rms_norm2d: none, weight or weight+bias");
  add_text(command, "--activation", o.activation, "Of rms_norm2d: none, relu, silu, gelu, gelu_tanh or sigmoid");
  add_text(command, "--residual", o.residual, "Of rms_norm2d: none, before or after; then compared with 1.5 copies");
  add_rounds(command, o.rounds, "Rounds of which the median is taken");
  add_text(command, "--device", o.device, "cuda or cuda:N");
  command->add_flag("--no-tune", o.no_tune, "Default configurations, instead of the fastest found or cached");
  command->add_flag("--no-check", o.no_check, "Results are not compared with the reference, which can take a second each");
  command->add_flag("--profile", o.profile, "One launch a shape between cudaProfilerStart and Stop, nothing timed: for ncu and nsys");
  CLI::Option* json = command->add_flag("--json", o.json, "Report as JSON");
  command->add_flag("--csv", o.csv, "Report as CSV")->excludes(json);
  command->footer(
      "Cold: the launches of one graph go through as many buffers of normal data as exceed twice the L2 cache; a copy kernel and\n"
      "cudaMemcpyAsync of as many bytes are timed in turn with the layer. ratio = time of the better copy / time of the layer.\n"
      "Exit status 1: a result was past its error budget, or a case could not be timed.");
  return command;
}

CLI::App* add_denoise(CLI::App& app, DenoiseCommandOptions& o) {
  CLI::App* command = app.add_subcommand("denoise", "Remove the noise from a photograph, or from all of a folder");
  add_text(command, "in", o.in, "A PNG or JPEG file of 8 or 16 bits, grey or in colour; or a folder of such files")->required();
  CLI::Option* out = add_text(command, "-o,--out", o.out,
                              "The .png or .jpg file to write, with the depth, alpha and colour profile of the input; or a folder");
  command->add_flag("--in-place", o.in_place, "Write each picture over the one that was read, instead of -o")->excludes(out);
  add_text(command, "--device", o.device, "auto, cpu, reference, cuda or cuda:N");
  add_text(command, "--dtype", o.dtype, "f32, f16 or bf16");
  add_text(command, "--sigma", o.sigma,
           "Remove noise of at most this standard deviation, 0 to 255, and leave the rest; auto: all that is found");
  add_whole(command, "--tile", o.tile, 16, 1 << 20, "Larger pictures are done in tiles of this side, a multiple of 16");
  add_bytes(command, "--max-memory", o.max_memory, "Smaller tiles, until the model's memory on the device is within this, e.g. 512M or 2G");
  add_reading_options(command, o.pictures);
  add_writing_options(command, o.pictures);
  add_no_rewrite(command, o.no_rewrites);
  command->add_flag("--no-tune", o.no_tune, "Default kernels, instead of the fastest found or cached");
  command->add_flag("--json", o.json, "Report as JSON, an object a line for each picture");
  command->footer(
      "Of a folder, the pictures that lie in it itself are done, in the order of their names; hidden files (._a.jpg) and others are left\n"
      "out. a.jpg becomes a.png, or a.jpg.png where there is also a picture a.png. One that fails is told in a line, and the others are\n"
      "done: exit status 1, or 2 if none was.");
  return command;
}

CLI::App* add_noise_command(CLI::App& app, NoiseOptions& o) {
  CLI::App* command = app.add_subcommand("noise", "Add Gaussian noise to a picture, to see what denoise makes of it");
  add_text(command, "in", o.in, "A PNG or JPEG file")->required();
  add_text(command, "-o,--out", o.out, "The .png or .jpg file to write, with the depth, alpha and colour profile of the input")->required();
  add_number(command, "--sigma", o.sigma, 0, 255, "Standard deviation, of 255");
  add_seed(command, "--seed", o.seed, "Seed of the noise");
  add_reading_options(command, o.pictures);
  add_writing_options(command, o.pictures);
  return command;
}

CLI::App* add_compare(CLI::App& app, CompareOptions& o) {
  CLI::App* command = app.add_subcommand("compare", "PSNR and SSIM of pictures against the true one");
  add_text(command, "truth", o.truth, "The picture that the others should equal")->required();
  add_texts(command, "pictures", o.others, "Pictures of the same size")->expected(-1)->required();
  add_text(command, "-o,--out", o.out, "Also write them side by side, the true one last, as this .png or .jpg file");
  add_reading_options(command, o.pictures);
  add_writing_options(command, o.pictures);
  command->add_flag("--json", o.json, "Report as JSON");
  return command;
}

// One line, whatever the message holds.
int fail(std::string message) {
  for (char& c : message) {
    if (c == '\n') c = ' ';  // of a report in an error, such as a bill
  }
  while (!message.empty() && message.back() == ' ') message.pop_back();
  std::cerr << "frieze: error: " << printable(message, 8000) << std::endl;
  return kExitError;
}

// What CLI11 would understand in its own way: "--sigma=" takes the next argument, and "[a]" is a list.
void check_arguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view text = argv[i];
    check<OptionError>(!(text.starts_with("--") && text.ends_with('=') && text.find('=') == text.size() - 1),
                       text.substr(0, text.size() - 1), ": expected a value, got nothing");
    check<OptionError>(!(text.starts_with('[') && text.ends_with(']')), text, ": write ./", text, " if a file is called so");
  }
}

// --help and --version answer alone: beside them, an unknown command stays an error.
void check_asked_alone(const CLI::App& app) {
  for (const std::string& unknown : app.remaining(true)) {
    throw OptionError(concat_text(unknown.starts_with('-') ? "unknown option '" : "unknown command '", unknown, "'; see frieze --help"));
  }
}

int parse_and_run(int argc, char** argv) {
  Outputs out;
  check_arguments(argc, argv);
  CLI::App app(kOverview, "frieze");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", version_text, "Print version, commit, and the CUDA, cuBLAS and cuDNN of this build");

  RunOptions run;
  CLI::App* run_app = app.add_subcommand("run", "Run a model on a picture and write the picture it makes");
  add_model_options(run_app, run, true);
  add_text(run_app, "--out", run.out, "The .png or .jpg file to write; only ever complete or untouched")->required();
  CLI::Option* tap =
      add_texts(run_app, "--tap", run.taps, "Keep what these steps make: module paths of frieze inspect, * and ? as wildcards; repeatable");
  CLI::Option* tap_out = add_text(run_app, "--tap-out", run.tap_out, "The .safetensors file for the taps, each in its own type");
  tap->needs(tap_out);
  tap_out->needs(tap);

  VerifyCommandOptions verify;
  CLI::App* verify_app = app.add_subcommand("verify", "Compare the captured graph with the CPU reference, layer by layer");
  add_model_options(verify_app, verify, false);
  CLI::Option* seed = add_seed(verify_app, "--seed", verify.seed, "Seed of the random input");
  CLI::Option* against =
      add_text(verify_app, "--against", verify.against,
               "Instead, compare the outputs with those of this .safetensors file (from PyTorch, say), made of its inputs");
  against->excludes(seed);
  add_number(verify_app, "--tolerance", verify.tolerance, 0, 1e30,
             "With --against: the largest difference, as a share of an output's largest magnitude; 0: from the error budgets")
      ->needs(against);
  add_text(verify_app, "--html", verify.html, "Also write the report as one self-contained page");
  verify_app->add_flag("--rewrites", verify.rewrites, "Also prove each rewrite on its own: the steps with it against those without it")
      ->excludes(against);

  InspectOptions inspect;
  CLI::App* inspect_app = app.add_subcommand("inspect", "Show a model's steps, shapes, bytes, flops, memory and captured graph");
  add_model_options(inspect_app, inspect, false);
  inspect_app->add_flag("--dot", inspect.dot, "The plan for Graphviz: frieze inspect MODEL --dot | dot -Tsvg > plan.svg");
  inspect_app->add_flag("--graph-dot", inspect.graph_dot, "The captured graph for Graphviz: its nodes by step, and its edges");
  inspect_app->add_flag("--memory", inspect.memory, "The memory alone: the bill, and the arena over time");

  BenchOptions bench;
  CLI::App* bench_app = app.add_subcommand("bench", "Time a model: host and device, as one graph and eagerly");
  add_model_options(bench_app, bench, false);
  add_rounds(bench_app, bench.rounds, "Rounds of which the median is taken");

  ProfileCommandOptions profile;
  CLI::App* profile_app = app.add_subcommand("profile", "Time each step inside the replay, against what this device does at best");
  add_model_options(profile_app, profile, false);
  add_rounds(profile_app, profile.rounds, "Rounds of which the middle half counts; on the CPU at most 5");
  CLI::Option* html = add_text(profile_app, "--html", profile.html, "Also write the report as one self-contained page");
  profile_app->add_flag("--verify", profile.verify, "The page also holds each layer's error budget, as verify finds it")->needs(html);

  OpOptions op;
  CLI::App* op_app = app.add_subcommand("op", "Run one layer on the tensors of a file, to compare with other frameworks");
  add_text(op_app, "layer", op.layer, "Name of the layer, see --list");
  add_text(op_app, "--in", op.in, "A .safetensors file: x (x2, x3, …), weight, bias, residual, as the layer has them");
  add_text(op_app, "--out", op.out, "The .safetensors file to write: y, in the type of x");
  add_text(op_app, "--device", op.device, "auto, cpu, reference, cuda or cuda:N");
  add_text(op_app, "--format", op.format, "nchw or nhwc: the memory order of the inputs on the device; the file is always N,C,H,W");
  add_texts(op_app, "--set", op.settings, "A setting of the layer, key=value; may be repeated")->type_name("KEY=VALUE");
  add_texts(op_app, "--then", op.then, "An elementwise step after the layer, fused where the layer can; may be repeated")
      ->type_name("STEP");
  op_app->add_flag("--tf32", op.tf32, "Let f32 matrix products on the GPU use TF32");
  add_no_rewrite(op_app, op.no_rewrites);
  op_app->add_flag("--no-tune", op.no_tune, "Default kernels, instead of the fastest found or cached");
  op_app->add_flag("--list", op.list, "List the layers, their tensors and settings");
  op_app->footer("Example: frieze op conv2d --in x.safetensors --out y.safetensors --set stride=2 --set padding=1 --then silu");

  BenchOpOptions bench_op;
  CLI::App* bench_op_app = add_bench_op(app, bench_op);
  VaeOptions vae;
  const CLI::App* vae_app = add_vae(app, vae);

  DenoiseCommandOptions denoise;
  CLI::App* denoise_app = add_denoise(app, denoise);
  NoiseOptions noise;
  CLI::App* noise_app = add_noise_command(app, noise);
  CompareOptions compare;
  CLI::App* compare_app = add_compare(app, compare);

  bool devices_json = false;
  CLI::App* devices_app = app.add_subcommand("devices", "List the devices that this build can use here");
  devices_app->add_flag("--json", devices_json, "Report as JSON");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    check_asked_alone(app);
    std::ostringstream errors;
    app.exit(e, out.text(), errors);  // --help, --version
    out.deliver();
    return kExitOk;
  } catch (const CLI::ParseError& e) {
    const auto chosen = app.get_subcommands();
    if (chosen.empty() && argc > 1 && argv[1][0] != '-') return fail(std::string("unknown command '") + argv[1] + "'; see frieze --help");
    return fail(std::string(e.what()) + "; see frieze " + (chosen.empty() ? "" : chosen.front()->get_name() + " ") + "--help");
  }
  // The report and the files are held back until the command, or one input of several, has succeeded.
  int status = kExitOk;
  if (*run_app) status = run_command(run, out);
  if (*verify_app) status = verify_command(verify, out);
  if (*inspect_app) announce_model(inspect, out), status = inspect_command(inspect, out.text());
  if (*bench_app) announce_model(bench, out), status = bench_command(bench, out.text());
  if (*profile_app) status = profile_command(profile, out);
  if (*bench_op_app) status = bench_op_command(bench_op, out.text());
  if (*op_app) status = op_command(op, out);
  if (*denoise_app) status = denoise_command(denoise, out);
  if (*noise_app) status = noise_command(noise, out);
  if (*compare_app) status = compare_command(compare, out);
  if (*vae_app) status = vae_command(vae, out);
  if (*devices_app) status = devices_command(devices_json, out.text());
  out.deliver();
  return status;
}

}  // namespace
}  // namespace frieze::tools

int main(int argc, char** argv) {
  frieze::tools::fill_closed_descriptors();
  frieze::tools::install_signal_handlers();
  try {
    return frieze::tools::parse_and_run(argc, argv);
  } catch (const std::bad_alloc&) {
    return frieze::tools::fail("not enough memory");
  } catch (const std::exception& e) {
    return frieze::tools::fail(e.what());
  }
}

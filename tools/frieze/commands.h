#pragma once
/// What each subcommand takes, and does: writes its report and its files to `out`, returns the exit status, throws frieze::Error.
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <frieze/core/load.h>

#include "tools/frieze/pictures.h"

namespace frieze::tools {

class Outputs;

/// kExitPartly: of several files, some failed.
inline constexpr int kExitOk = 0, kExitVerifyFailed = 1, kExitPartly = 1, kExitError = 2;

/// What the commands about a model share.
struct ModelOptions {
  std::string model;
  std::string device = "auto";  ///< auto: the first GPU, or the CPU where there is none
  std::string dtype = "f32";
  std::string weights;                       ///< a .safetensors file, or empty for the model's own
  std::string variant;                       ///< of several checkpoints in a folder: "fp16"
  LoadOptions load;                          ///< which of their tensors, under which names
  std::optional<std::uint64_t> random_seed;  ///< random weights instead
  std::string photo;                         ///< the picture that is the input
  PictureOptions pictures;
  int width = 512, height = 384;         ///< of a random input, without a picture
  std::int64_t max_memory = 0;           ///< bytes that the session may hold; 0: no limit
  std::vector<std::string> no_rewrites;  ///< names of rewrites that are left out
  bool tf32 = false;
  bool no_tune = false;
  bool json = false;
};

struct RunOptions : ModelOptions {
  std::string out;
  std::vector<std::string> taps;  ///< patterns of values to keep
  std::string tap_out;            ///< the .safetensors file that they go to
};
int run_command(const RunOptions& options, Outputs& out);

struct VerifyCommandOptions : ModelOptions {
  std::uint64_t seed = 1;
  std::string against;    ///< a .safetensors file with the outputs that are right, and the inputs they were made of; or empty
  double tolerance = 0;   ///< of its outputs' largest magnitudes; 0: derived
  std::string html;       ///< a file for the report as a page, or empty
  bool rewrites = false;  ///< also prove each rewrite on its own
};
int verify_command(const VerifyCommandOptions& options, Outputs& out);

struct InspectOptions : ModelOptions {
  bool dot = false, graph_dot = false, memory = false;
};
int inspect_command(const InspectOptions& options, std::ostream& out);

struct BenchOptions : ModelOptions {
  int rounds = 50;
};
int bench_command(const BenchOptions& options, std::ostream& out);

struct ProfileCommandOptions : ModelOptions {
  int rounds = 50;
  std::string html;     ///< a file for the report as a page, or empty
  bool verify = false;  ///< the page also holds the error budget
};
int profile_command(const ProfileCommandOptions& options, Outputs& out);

struct BenchOpOptions {
  std::string layer;
  std::string device = "cuda", shapes, dtype, format;                   ///< empty: the table of shapes, its types, both formats
  std::string affine = "none", activation = "none", residual = "none";  ///< of rms_norm2d
  std::vector<std::string> tensors, settings, then;                     ///< of other layers: "name=SHAPE", "key=value", steps behind it
  int rounds = 15;
  int below = 2;  ///< integer inputs hold numbers from 0 to below - 1
  bool no_tune = false, no_check = false, profile = false, json = false, csv = false;
};
int bench_op_command(const BenchOpOptions& options, std::ostream& out);

struct OpOptions {
  std::string layer, in, out;
  std::string device = "auto", format = "nchw";
  std::vector<std::string> settings;  ///< "key=value"
  std::vector<std::string> then;      ///< elementwise steps after the layer, in order
  std::vector<std::string> no_rewrites;
  bool list = false, tf32 = false, no_tune = false;
};
int op_command(const OpOptions& options, Outputs& out);

struct DenoiseCommandOptions {
  std::string in, out;  ///< pictures, or folders
  std::string device = "auto", dtype = "f32";
  std::string sigma = "auto";   ///< or the most noise to remove, in levels of 255
  std::int64_t max_memory = 0;  ///< bytes; 0: no limit
  int tile = 1024;
  std::vector<std::string> no_rewrites;
  bool in_place = false, no_tune = false, json = false;
  PictureOptions pictures;
};
int denoise_command(const DenoiseCommandOptions& options, Outputs& out);

struct NoiseOptions {
  std::string in, out;
  double sigma = 25;  ///< of 255
  std::uint64_t seed = 1;
  PictureOptions pictures;
};
int noise_command(const NoiseOptions& options, Outputs& out);

struct CompareOptions {
  std::string truth;
  std::vector<std::string> others;
  std::string out;  ///< all of them side by side, or empty
  bool json = false;
  PictureOptions pictures;
};
int compare_command(const CompareOptions& options, Outputs& out);

int devices_command(bool json, std::ostream& out);

/// What `--version` prints.
std::string version_text();

}  // namespace frieze::tools

#pragma once
/// `frieze vae`: images through an autoencoder, to latents and back.
#include <cstdint>
#include <string>
#include <vector>

#include "tools/frieze/pictures.h"

namespace CLI {
class App;
}

namespace frieze::tools {

class Outputs;

enum class VaeTask { encode, decode, roundtrip };

struct VaeOptions {
  VaeTask task = VaeTask::roundtrip;
  std::string model;            ///< folder with config.json and weights, or a published variant's name
  std::string weights;          ///< a file, a folder, or random:SEED; empty: those of the folder
  std::string variant;          ///< of several in a folder: "fp16"
  std::vector<std::string> in;  ///< files and folders
  std::string out;              ///< a file; a folder for several inputs; roundtrip may leave it out
  std::string device = "auto", dtype = "f32";
  int batch = 0;                ///< images that go through the graph at once; 0: as many as a file holds
  std::int64_t max_memory = 0;  ///< bytes that a graph may hold; 0: no limit
  bool tile = false;
  int tile_size = 0, tile_stride = 0;    ///< 0: the default
  bool exact = false;                    ///< no rewriting of layers
  std::vector<std::string> no_rewrites;  ///< names of rewrites that are left out
  bool no_tune = false;                  ///< default kernels, nothing is timed
  bool tf32 = false, json = false;
  PictureOptions pictures;
};
/// Reads, runs and writes every input, by the rule of batch.h; reports to `out`, progress to stderr if that is a terminal. Returns the exit
/// status, throws frieze::Error.
int vae_command(const VaeOptions& options, Outputs& out);

/// Adds `vae` and its subcommands, which fill `options`.
CLI::App* add_vae(CLI::App& app, VaeOptions& options);

}  // namespace frieze::tools

#pragma once
/// The one rule for several files. All that can be done is done; each file that fails is told in one line on stderr, with a summary at the
/// end. Exit status 0 if none failed, 1 if some did, 2 if nothing was done.
///
/// Of a folder, the files that lie in it itself count, in the order of their names: hidden ones (macOS's ._a.jpg) and those with other
/// endings are left out, links are followed. a.jpg is made into a.png, or into a.jpg.png where another input has the name a: no two inputs
/// have one output. Outputs go to another folder than that of
/// the inputs, unless in place. A folder that is to be written to is made with the first file that is put into it, and its own folder must
/// exist.
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tools/frieze/outputs.h"

namespace frieze::tools {

struct BatchFile {
  std::string in, out;  ///< out is empty if nothing is to be written
  std::string refused;  ///< why it cannot be done, known before the work
};

struct Batch {
  std::vector<BatchFile> files;
  bool new_folder = false;  ///< the folder of the outputs is to be made
  bool several = false;     ///< folders or more than one file: a failure concerns one of them
  std::size_t skipped = 0;  ///< files of folders that are of other kinds
};

struct BatchRequest {
  std::vector<std::string> in;                      ///< files and folders
  std::string out;                                  ///< a file, a folder for several inputs, or empty
  std::string made;                                 ///< the ending of outputs in a folder: ".png"
  bool in_place = false;                            ///< each output is its input
  std::string kinds;                                ///< "PNG or JPEG", for messages
  std::function<bool(const std::string&)> is_kind;  ///< of a file's name
};

/// Lists the files and announces them to `outputs`. A single file that cannot be done is thrown as it is. Throws IoError, OptionError.
Batch list_batch(const BatchRequest& request, Outputs& outputs);

/// Files that can be worked on together have one key.
struct BatchKey {
  std::string key;
  std::size_t bytes = 0;  ///< that the file holds in memory until it is written
};

/// What is done with each file, in three parts, so that several can share the one in the middle. `index` counts the files of the batch.
struct BatchSteps {
  std::function<BatchKey(const BatchFile&, std::size_t index)> read;
  /// `files`: of one key, `at_once` at most. If several fail together, each is tried alone, so that only the one at fault fails.
  std::function<void(std::span<const std::size_t> files)> work;
  std::function<void(const BatchFile&, std::size_t index)> write;
  /// After the outputs of a file are delivered, and after it has failed in any of the parts.
  std::function<void(std::size_t index)> done, failed;
  std::size_t at_once = 1;
  std::size_t most_waiting = std::size_t{1} << 30;  ///< bytes that wait for files of their key; then the most that wait together go first
};

/// Takes each file through the steps and delivers what was put into `outputs`: file by file, in order, unless several are worked on at
/// once. Returns the exit status. Throws what a single file throws; of several, only ReportError. A device that failed ends the batch.
int run_batch(const Batch& batch, Outputs& outputs, const BatchSteps& steps);
/// The same with body(file, its index) for all of it.
int run_batch(const Batch& batch, Outputs& outputs, const std::function<void(const BatchFile&, std::size_t)>& body);

/// The ending of a file's name in lower case: ".png".
std::string lower_ending(const std::string& path);

}  // namespace frieze::tools

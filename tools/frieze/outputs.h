#pragma once
/// What one command reads and writes: its files, and its report on standard output, which appear together or not at all.
#include <filesystem>
#include <initializer_list>
#include <map>
#include <sstream>
#include <string>
#include <string_view>

#include <frieze/core/error.h>
#include <frieze/core/output_file.h>

namespace frieze::tools {

/// Standard output cannot be written: no further file of the command appears.
class ReportError : public IoError {
  using IoError::IoError;
};

class Outputs {
 public:
  /// Throws ReportError if standard output is closed, or a pipe that nobody reads.
  Outputs();
  ~Outputs();
  Outputs(const Outputs&) = delete;
  Outputs& operator=(const Outputs&) = delete;

  /// A file that the command reads; of a folder, every file below it. What does not exist is left for reading to complain about. Throws
  /// IoError if it is the file that standard output or standard error goes to.
  void reads(const std::filesystem::path& path);
  /// A checkpoint: an index and a config.json stand for all files of their folder.
  void reads_checkpoint(const std::filesystem::path& path);
  /// Announces a file, before the work. Throws IoError if it cannot be written, or if it is a file that the command reads, other than
  /// `in_place_of`, or another one that it writes; however they are called: links of both kinds are seen through.
  void writes(const std::filesystem::path& path, const std::filesystem::path& in_place_of = {});

  /// A folder that open() makes when the first file is to go into it, at the end of a link that leads nowhere yet; it is taken back if
  /// none does. Throws IoError if links lead in a circle.
  void makes_folder(const std::filesystem::path& path);

  /// The report; held back until deliver().
  std::ostream& text() { return text_; }
  /// A file that deliver() puts into place.
  OutputFile& open(const std::filesystem::path& path);
  /// Drops text and files since the last deliver().
  void discard();
  /// Writes the report, made fit for a terminal, to standard output, then puts the files into place. Throws ReportError, IoError; then no
  /// file appears.
  void deliver();

 private:
  void remember_input(const std::filesystem::path& path, const FileId& id);

  std::ostringstream text_;
  OutputSet files_;
  std::filesystem::path folder_;
  bool made_folder_ = false;
  std::map<FileId, std::string> read_, written_;
};

/// Throws OptionError if the name of an output says that it is something else than what is `written`: it has the ending of a known format,
/// in any case of letters, and none of `endings`.
void check_ending(const std::filesystem::path& path, std::string_view written, std::initializer_list<std::string_view> endings);

/// `text` with each line made printable.
std::string printable_lines(std::string_view text);

}  // namespace frieze::tools

#include "tools/frieze/outputs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tools/frieze/signals.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 4;                 // of folders in a checkpoint
constexpr std::size_t kMostRead = 100'000;  // files that are remembered

[[noreturn]] void fail_report(int error) {
  throw ReportError(concat_text("standard output: cannot write the report: ", std::strerror(error)));
}

constexpr const char *kStandardOutput = "standard output", *kStandardError = "standard error";

void write_report(std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, text.data(), text.size());
    if (wrote >= 0) {
      text.remove_prefix(static_cast<std::size_t>(wrote));
    } else if (errno == EAGAIN) {  // a pipe that somebody set not to wait
      pollfd ready{STDOUT_FILENO, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail_report(errno);
    }
  }
}

}  // namespace

void check_ending(const fs::path& path, std::string_view written, std::initializer_list<std::string_view> endings) {
  constexpr std::string_view kKnown[] = {".png",         ".jpg",  ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif",
                                         ".safetensors", ".npy",  ".npz",  ".pt",   ".pth", ".ckpt", ".bin", ".csv",
                                         ".pdf",         ".html", ".json", ".htm",  ".txt", ".xml"};
  std::string ending = path.extension().string(), expected;
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (std::find(std::begin(kKnown), std::end(kKnown), ending) == std::end(kKnown)) return;
  for (const std::string_view own : endings) {
    if (ending == own) return;
    expected += concat_text(expected.empty() ? "" : " or ", own);
  }
  throw OptionError(concat_text(printable(path.string()), ": ", written, " is written here: expected an ending of ", expected, ", got '",
                                printable(path.extension().string()), "'"));
}

std::string printable_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out += printable(text.substr(0, end), std::string_view::npos);
    if (end == std::string_view::npos) break;
    out += '\n';
    text.remove_prefix(end + 1);
  }
  return out;
}

Outputs::Outputs() {
  struct stat status = {};
  if (::fstat(STDOUT_FILENO, &status) != 0) fail_report(errno);
  // A descriptor that cannot be written to, or a pipe whose reader is gone, is known before the work.
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) fail_report(EBADF);
  pollfd pipe{STDOUT_FILENO, POLLOUT, 0};
  if (::poll(&pipe, 1, 0) == 1 && (pipe.revents & POLLERR) != 0 && S_ISFIFO(status.st_mode)) fail_report(EPIPE);
  if (S_ISREG(status.st_mode)) written_.emplace(FileId{status.st_dev, status.st_ino, {}}, kStandardOutput);
  if (::fstat(STDERR_FILENO, &status) == 0 && S_ISREG(status.st_mode)) {
    written_.emplace(FileId{status.st_dev, status.st_ino, {}}, kStandardError);
  }
}

void Outputs::remember_input(const fs::path& path, const FileId& id) {
  const std::string name = printable(path.string());
  if (const auto stream = written_.find(id); stream != written_.end()) {
    // The message must not go where it says that nothing may go.
    if (stream->second == kStandardError) ::dup2(STDOUT_FILENO, STDERR_FILENO);
    throw IoError(concat_text(name, ": ", stream->second, " goes to this file, which is read"));
  }
  read_.emplace(id, name);
}

void Outputs::reads(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    remember_input(path, {status.st_dev, status.st_ino, {}});
    return;
  }
  std::error_code error;
  fs::recursive_directory_iterator it(path, fs::directory_options::skip_permission_denied, error), end;
  for (; !error && it != end && read_.size() < kMostRead; it.increment(error)) {
    if (it.depth() >= kDeepest) it.disable_recursion_pending();
    if (::stat(it->path().c_str(), &status) != 0 || S_ISDIR(status.st_mode)) continue;
    remember_input(it->path(), {status.st_dev, status.st_ino, {}});
  }
}

void Outputs::reads_checkpoint(const fs::path& path) {
  reads(path);
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  reads(path.extension() == ".json" ? folder : folder / "config.json");
}

void Outputs::writes(const fs::path& path, const fs::path& in_place_of) {
  const std::string name = printable(path.string());
  const FileId id = output_id(path);
  const auto input = read_.find(id);
  const bool in_place = input != read_.end() && !in_place_of.empty() && output_id(in_place_of) == id;
  check<IoError>(input == read_.end() || in_place, name, ": cannot be written: it would be written over ",
                 input == read_.end() || input->second == name ? "what is read" : input->second + ", which is read");
  const auto other = written_.find(id);
  check<IoError>(other == written_.end(), name, ": cannot be written: two outputs would be this file",
                 other == written_.end() || other->second == name ? "" : ", the other is called " + other->second);
  check_writable(path);
  written_.emplace(id, name);
}

Outputs::~Outputs() {
  discard();
  if (!made_folder_) return;
  ::rmdir(folder_.c_str());  // which fails if something is in it
  take_back_when_stopped(nullptr);
}

void Outputs::makes_folder(const fs::path& path) {
  folder_ = path;
  constexpr int kMostLinks = 40;  // as many as Linux follows
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(folder_, error)); ++links) {
    const fs::path target = fs::read_symlink(folder_, error);
    check<IoError>(!error && links < kMostLinks, printable(path.string()), ": cannot make this folder: its links lead in a circle");
    folder_ = folder_.parent_path() / target;
  }
}

OutputFile& Outputs::open(const fs::path& path) {
  if (!folder_.empty() && !made_folder_) {
    take_back_when_stopped(folder_.c_str());
    if (::mkdir(folder_.c_str(), 0777) != 0) {  // by itself: arguments of one call are evaluated in any order
      const int error = errno;
      take_back_when_stopped(nullptr);
      throw IoError(concat_text(printable(folder_.string()), ": cannot make this folder: ", std::strerror(error)));
    }
    made_folder_ = true;
  }
  return files_.open(path);
}

void Outputs::discard() {
  text_.str({});
  files_ = {};
}

void Outputs::deliver() {
  files_.finish();
  write_report(printable_lines(std::exchange(text_, {}).str()));
  if (files_.empty()) return;
  const HoldSignals hold;
  files_.commit();
}

}  // namespace frieze::tools

#pragma once
/// What `frieze vae` shows while it works.
#include <chrono>
#include <cstdint>
#include <string>

namespace frieze::tools {

/// "12 of 50 files, 3.4 images/s, 11 s left"; the rate is left out before the first file is done.
std::string vae_rate(std::size_t files_done, std::size_t files, std::int64_t images, double seconds);

/// One line on a terminal that is rewritten; nothing elsewhere.
class VaeProgress {
 public:
  explicit VaeProgress(std::size_t files);
  ~VaeProgress() { hide(); }
  VaeProgress(const VaeProgress&) = delete;
  VaeProgress& operator=(const VaeProgress&) = delete;

  void hide();
  void file(std::size_t index, const char* what) { index_ = index, what_ = what, show(0, 1); }
  void what(const char* what) { what_ = what, show(0, 1); }
  /// Tiles of the work at hand.
  void show(int done, int total);
  /// Steps of a graph that is being made.
  void compiling(int ready, int steps);
  /// A file of so many images is done.
  void done(std::int64_t images) { ++files_done_, images_ += images; }

 private:
  std::string where() const;
  void draw(int done, int total, const std::string& text);

  std::size_t files_, index_ = 0, files_done_ = 0;
  std::int64_t images_ = 0;
  const char* what_ = "";
  bool on_, shown_ = false;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace frieze::tools

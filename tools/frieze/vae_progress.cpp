#include "tools/frieze/vae_progress.h"

#include <unistd.h>

#include <cmath>
#include <iostream>
#include <utility>

#include <frieze/core/error.h>
#include <frieze/graph/report/text_table.h>

namespace frieze::tools {

std::string vae_rate(std::size_t files_done, std::size_t files, std::int64_t images, double seconds) {
  std::string text = concat_text(files_done, " of ", files, " files");
  if (files_done == 0 || seconds <= 0) return text;
  text += ", " + fixed(static_cast<double>(images) / seconds, 1) + " images/s";
  const double left = seconds / static_cast<double>(files_done) * static_cast<double>(files - files_done);
  const auto whole = static_cast<std::int64_t>(std::ceil(left));
  if (whole >= 3600) return text + concat_text(", ", whole / 3600, " h ", whole % 3600 / 60, " min left");
  if (whole >= 60) return text + concat_text(", ", whole / 60, " min ", whole % 60, " s left");
  return text + concat_text(", ", whole, " s left");
}

VaeProgress::VaeProgress(std::size_t files) : files_(files), on_(::isatty(STDERR_FILENO) == 1) {}

void VaeProgress::hide() {
  if (std::exchange(shown_, false)) std::cerr << "\r\x1b[K" << std::flush;
}

void VaeProgress::show(int done, int total) {
  draw(done, total, total > 1 ? concat_text(what_, where(), ", tile ", done, " of ", total) : concat_text(what_, where()));
}

void VaeProgress::compiling(int ready, int steps) {
  draw(ready, steps, concat_text("preparing and tuning", where(), ", step ", ready, " of ", steps));
}

std::string VaeProgress::where() const {
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  return concat_text(", file ", index_ + 1, "; ", vae_rate(files_done_, files_, images_, seconds));
}

void VaeProgress::draw(int done, int total, const std::string& text) {
  if (!on_) return;
  constexpr int kWidth = 20;
  const int filled = kWidth * done / total;
  std::cerr << "\r\x1b[K[" << std::string(static_cast<std::size_t>(filled), '#')
            << std::string(static_cast<std::size_t>(kWidth - filled), '.') << "] " << text << std::flush;
  shown_ = true;
}

}  // namespace frieze::tools

// The options of pictures.h.
#include <CLI/CLI.hpp>

#include "tools/frieze/pictures.h"

namespace frieze::tools {

void add_reading_options(CLI::App* command, PictureOptions& o) {
  command->add_option("--max-pixels", o.max_pixels, "Refuse larger pictures before they are decoded")
      ->check(CLI::Range(1LL, 1LL << 40))
      ->capture_default_str();
  command->add_flag("--strict", o.strict, "Refuse a picture that is cut off or damaged, instead of saying so and using what is there");
}

void add_writing_options(CLI::App* command, PictureOptions& o) {
  command->add_option("--quality", o.quality, "Of a JPEG that is written, 1 to 100")->check(CLI::Range(1, 100))->capture_default_str();
  command->add_flag("--flatten{white}", o.flatten,
                    "Let a JPEG give up transparency, laid over white (or --flatten=black, grey, #RRGGBB), and 16 bits");
}

}  // namespace frieze::tools

// The options of pictures.h.
#include "tools/frieze/pictures.h"

#include "tools/frieze/cli_options.h"

namespace frieze::tools {

void add_reading_options(CLI::App* command, PictureOptions& o) {
  const auto pixels = [&o](const std::string& label, const std::string& text) { o.max_pixels = parse_whole(label, text, 1, 1LL << 40); };
  add_parsed(command, "--max-pixels", "Refuse larger pictures before they are decoded", "N", pixels)
      ->default_str(std::to_string(o.max_pixels));
  command->add_flag("--strict", o.strict, "Refuse a picture that is cut off or damaged, instead of saying so and using what is there");
}

void add_quality_option(CLI::App* command, PictureOptions& o) {
  add_whole(command, "--quality", o.quality, 1, 100, "Of a JPEG that is written");
}

void add_flatten_option(CLI::App* command, PictureOptions& o) {
  // A colour that is none is refused also where nothing is transparent.
  command->add_flag("--flatten{white}")
      ->description("Give up what the output cannot hold: transparency, laid over white (or --flatten=black, grey, #RRGGBB), and 16 bits")
      ->each([&o](const std::string& text) { o.flatten = parse_colour("--flatten", text); });
}

void add_writing_options(CLI::App* command, PictureOptions& o) {
  add_quality_option(command, o);
  add_flatten_option(command, o);
}

}  // namespace frieze::tools

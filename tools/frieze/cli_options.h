#pragma once
/// Options of CLI11 whose values go through the parsers of arguments.h. For main.cpp and *_cli.cpp, the only files that include CLI11.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#include <frieze/core/rewrite.h>

#include "tools/frieze/arguments.h"

namespace frieze::tools {

/// What messages call the option of these names: the long one, or the name of a positional.
inline std::string option_label(const std::string& names) {
  const std::size_t at = names.find("--");
  return at == std::string::npos ? names : names.substr(at, names.find(',', at) - at);
}

/// An option of one value, which `parse(label, text)` reads. A value that begins with '-' is taken for a forgotten one.
template <class Parse>
CLI::Option* add_parsed(CLI::App* command, const std::string& names, const std::string& about, const char* type, Parse parse) {
  const std::string label = option_label(names);
  const auto read = [label, parse](const CLI::results_t& results) {
    parse(label, results.front());
    return true;
  };
  return command->add_option(names, read, about)->type_name(type);
}

inline CLI::Option* add_text(CLI::App* command, const std::string& names, std::string& value, const std::string& about) {
  const auto parse = [&value](const std::string& label, const std::string& text) { value = parse_text(label, text); };
  return add_parsed(command, names, about, "TEXT", parse)->default_str(value);
}
inline CLI::Option* add_texts(CLI::App* command, const std::string& names, std::vector<std::string>& values, const std::string& about) {
  const std::string label = option_label(names);
  const auto read = [label, &values](const CLI::results_t& results) {
    for (const std::string& text : results) values.push_back(parse_text(label, text));
    return true;
  };
  return command->add_option(names, read, about)->type_name("TEXT")->expected(1)->take_all()->allow_extra_args(false);
}
template <class Seed>  // std::uint64_t, or an optional one
CLI::Option* add_seed(CLI::App* command, const std::string& names, Seed& value, const std::string& about) {
  const auto parse = [&value](const std::string& label, const std::string& text) { value = parse_seed(label, text); };
  CLI::Option* option = add_parsed(command, names, about, "SEED", parse);
  if constexpr (std::is_same_v<Seed, std::uint64_t>) option->default_str(std::to_string(value));
  return option;
}
inline CLI::Option* add_whole(CLI::App* command, const std::string& names, int& value, int least, int most, const std::string& about) {
  const auto parse = [&value, least, most](const std::string& label, const std::string& text) {
    value = static_cast<int>(parse_whole(label, text, least, most));
  };
  return add_parsed(command, names, about, "N", parse)->default_str(value == 0 ? "" : std::to_string(value));
}
inline CLI::Option* add_rounds(CLI::App* command, int& rounds, const std::string& about) {
  constexpr int kMost = 1'000'000;
  return add_whole(command, "--rounds", rounds, 1, kMost, about);
}
inline CLI::Option* add_number(CLI::App* command, const std::string& names, double& value, double least, double most,
                               const std::string& about) {
  const auto parse = [&value, least, most](const std::string& label, const std::string& text) {
    value = parse_number(label, text, least, most);
  };
  std::ostringstream fallback;
  fallback << value;
  return add_parsed(command, names, about, "NUMBER", parse)->default_str(fallback.str());
}
inline CLI::Option* add_bytes(CLI::App* command, const std::string& names, std::int64_t& value, const std::string& about) {
  const auto parse = [&value](const std::string& label, const std::string& text) { value = parse_bytes(label, text); };
  return add_parsed(command, names, about, "BYTES", parse);
}
/// Refuses names that there are not before anything is read or made.
inline CLI::Option* add_no_rewrite(CLI::App* command, std::vector<std::string>& names) {
  const auto read = [&names](const CLI::results_t& results) {
    for (const std::string& text : results) names.push_back(parse_text("--no-rewrite", text));
    check_rewrite_names(names);
    return true;
  };
  return command->add_option("--no-rewrite", read, "Leave out a rewrite of those that frieze inspect lists; repeatable")
      ->type_name("NAME")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace frieze::tools

#pragma once
/// The built `frieze` program as its users meet it: arguments in; exit status, stdout and stderr out.
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "support/paths.h"
#include "support/temp_folder.h"

namespace frieze::test {

struct Outcome {
  int status = -1;  ///< -1: killed by a signal
  std::string out, err;
};

inline std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// Runs frieze with `arguments`, each passed on as it is. `redirect` replaces where stdout goes.
inline Outcome run_frieze(const std::vector<std::string>& arguments, const std::string& redirect = "") {
  TempFolder folder;
  const auto quoted = [](const std::string& text) {
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out + "'";
  };
  std::string command = quoted(frieze_program());
  for (const std::string& argument : arguments) command += " " + quoted(argument);
  command += " >" + quoted(redirect.empty() ? folder.file("out") : redirect) + " 2>" + quoted(folder.file("err")) + " </dev/null";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, slurp(folder.file("out")), slurp(folder.file("err"))};
}

}  // namespace frieze::test

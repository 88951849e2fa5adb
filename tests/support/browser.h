#pragma once
/// A page as a browser shows it: headless Chromium, where it is installed.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace frieze::test {

struct Rendered {
  std::string dom;      ///< the page's elements after it was loaded
  std::string console;  ///< what the page and the loader complained of, a line each
};

/// The name of the browser, or empty.
inline std::string browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (std::system((std::string("command -v ") + name + " >/dev/null 2>&1").c_str()) == 0) return name;
  }
  return {};
}

/// Loads the page at `path`, whose folder is written to. Only for a machine with browser().
inline Rendered render(const std::string& path) {
  const std::string command = "timeout 60 " + browser() +
                              " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --enable-logging=stderr "
                              "--user-data-dir='" +
                              path + ".profile' --dump-dom 'file://" + path + "' >'" + path + ".dom' 2>'" + path + ".log'";
  (void)!std::system(command.c_str());
  const auto slurped = [](const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(name, std::ios::binary).rdbuf();
    return text.str();
  };
  Rendered page{slurped(path + ".dom"), {}};
  std::istringstream log(slurped(path + ".log"));
  for (std::string line; std::getline(log, line);) {
    if (line.find("CONSOLE") != std::string::npos || line.find("Refused to") != std::string::npos) page.console += line + "\n";
  }
  return page;
}

}  // namespace frieze::test

#define FRIEZE_NEEDS_BROWSER() \
  if (::frieze::test::browser().empty()) GTEST_SKIP() << "needs Chromium"

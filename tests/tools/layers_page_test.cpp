// layers/README.md names what `frieze op` has, and what it lacks is refused with the page's name.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "tools/command.h"

namespace frieze::test {
namespace {

TEST(LayersPage, HasALineForEveryOperation) {
  std::ifstream file(source_path("layers/README.md"));
  ASSERT_TRUE(file);
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const Outcome list = run_frieze({"op", "--list"});
  ASSERT_EQ(list.status, 0) << list.err;
  std::istringstream lines(list.out);
  int operations = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end = line.find(": y = ");
    if (end == std::string::npos || line.front() == ' ') continue;
    ++operations;
    const std::string name = line.substr(0, end);
    EXPECT_NE(page.find("\n| `" + name + "` |"), std::string::npos) << name << " has no line of its own in layers/README.md";
  }
  EXPECT_GT(operations, 15);
}

TEST(LayersPage, IsNamedWhereAnOperationIsMissing) {
  const TempFolder folder;
  const Outcome outcome = run_frieze({"op", "fold", "--in", folder.file("in.safetensors"), "--out", folder.file("out.safetensors")});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.err.find("unknown layer 'fold': the page layers/README.md says what there is"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace frieze::test

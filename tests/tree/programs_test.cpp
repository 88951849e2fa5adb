// What three everyday models take to write, out of the library's operations alone. run.sh builds and runs them as a user would.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>

namespace frieze::test {
namespace {

TEST(Programs, EverydayModelsAreShortAndBringNoLayers) {
  const std::filesystem::path folder = std::filesystem::path(FRIEZE_SOURCE_DIR) / "tests/packaging/examples/programs";
  std::map<std::string, long> most = {{"unet.cpp", 120}, {"resnet18.cpp", 55}, {"vit.cpp", 55}};
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".safetensors") continue;
    ASSERT_TRUE(most.contains(name)) << name << ": the programs are one file each, with their data";
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const long lines = std::count(text.begin(), text.end(), '\n');
    EXPECT_GT(lines, 20) << name;
    EXPECT_LE(lines, most[name]) << name;
    EXPECT_FALSE(std::regex_search(text, std::regex(R"(\bLayer\b|\binfer\(|\breference\(|#include "|;;|; *;)"))) << name;
    std::size_t longest = 0;
    for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
      longest = std::max(longest, end - begin);
    EXPECT_LE(longest, 140U) << name;
    most.erase(name);
  }
  EXPECT_TRUE(most.empty()) << "missing: " << most.begin()->first;
}

}  // namespace
}  // namespace frieze::test

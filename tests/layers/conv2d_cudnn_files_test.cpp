// Files of compiled plans: found again by their key, and only if they are whole.
#ifdef FRIEZE_CUDNN_LIBRARY  // a build with cuDNN
#include <frieze/layers/conv2d/cudnn/cudnn_files.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <frieze/core/tuning_cache.h>

#include "support/temp_folder.h"

namespace frieze::cuda {
namespace {

namespace fs = std::filesystem;

class CudnnFiles : public ::testing::Test {
 protected:
  fs::path only_file() const {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(folder_.path() / "tuning.json.plans")) {
      EXPECT_TRUE(found.empty()) << entry.path();
      found = entry.path();
    }
    return found;
  }

  test::TempFolder folder_;
  TuningCacheScope cache_{folder_.file("tuning.json")};
};

TEST_F(CudnnFiles, WhatWasStoredIsFound) {
  const std::string plan("{\"a\": \"\n\0\xff\"}", 12);
  EXPECT_EQ(find_plan_file("a key"), std::nullopt);
  store_plan_file("a key", plan);
  EXPECT_EQ(find_plan_file("a key"), plan);
  EXPECT_EQ(find_plan_file("another"), std::nullopt);
  store_plan_file("a key", "new");
  EXPECT_EQ(find_plan_file("a key"), "new");
  EXPECT_TRUE(fs::exists(only_file()));  // and no temporary one
}

TEST_F(CudnnFiles, DamageIsNoticed) {
  store_plan_file("a key", "0123456789");
  const fs::path file = only_file();
  const auto size = fs::file_size(file);
  for (std::uintmax_t keep = 0; keep < size; ++keep) {
    store_plan_file("a key", "0123456789");
    fs::resize_file(file, keep);
    EXPECT_EQ(find_plan_file("a key"), std::nullopt) << keep;
  }
  for (std::uintmax_t at = 0; at < size; ++at) {
    store_plan_file("a key", "0123456789");
    std::fstream(file).seekp(static_cast<std::streamoff>(at)).put('~');
    EXPECT_EQ(find_plan_file("a key"), std::nullopt) << at;
  }
}

TEST_F(CudnnFiles, NothingWithoutACache) {
  const TuningCacheScope off("");
  store_plan_file("a key", "plan");
  EXPECT_EQ(find_plan_file("a key"), std::nullopt);
}

}  // namespace
}  // namespace frieze::cuda
#endif

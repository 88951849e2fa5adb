// Where NVIDIA's libraries are looked for, what is said where there is none, and why there is no device.
#include <gtest/gtest.h>

#include "support/parity.h"

#if FRIEZE_WITH_CUDA
#include <cuda_runtime_api.h>

#include <filesystem>
#include <fstream>

#include <frieze/core/cuda/library_file.h>
#include <frieze/core/cuda/no_device.h>
#include <frieze/core/error.h>

#include "support/environment.h"
#include "support/temp_folder.h"

namespace frieze::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVariable = "FRIEZE_TEST_LIBRARY";

LibraryName missing() { return {"cuNothing", "libfrieze_nothing.so.7", kVariable, "", "nothing"}; }

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class LibraryFile : public ::testing::Test {
 protected:
  // An empty file in the folder, which need not exist yet.
  std::string make(const std::string& file) const {
    const fs::path path = folder_.path() / file;
    fs::create_directories(path.parent_path());
    std::ofstream(path).flush();
    return path.string();
  }
  test::TempFolder folder_;
};

TEST_F(LibraryFile, AsksTheLoaderFirstThenToolkitsThenPip) {
  const std::string name = "libfrieze_nothing.so.7";
  EXPECT_EQ(library_places(missing()).front(), name);
  const std::string toolkit = make("toolkit/lib64/" + name), path = make("path/lib/" + name);
  const std::string old_pip = make("venv/lib/python3.11/site-packages/nvidia/nothing/lib/" + name);
  const std::string new_pip = make("conda/lib/python3.13/site-packages/nvidia/cu13/lib/" + name);
  const std::string home = make("home/.local/lib/python3.9/site-packages/nvidia/nothing/lib/" + name);
  const std::string beside = make("prefix/lib/python3.12/dist-packages/nvidia/nothing/lib/" + name);
  const test::Environment cuda_home("CUDA_HOME", folder_.file("toolkit").c_str()), cuda_path("CUDA_PATH", folder_.file("path").c_str());
  const test::Environment venv("VIRTUAL_ENV", folder_.file("venv").c_str()), conda("CONDA_PREFIX", folder_.file("conda").c_str());
  const test::Environment user("HOME", folder_.file("home").c_str()), bins("PATH", ("relative::" + folder_.file("prefix/bin")).c_str());
  EXPECT_EQ(library_places(missing()), (std::vector<std::string>{name, toolkit, path, old_pip, new_pip, home, beside}));
  LibraryName built = missing();
  built.built_with = path.c_str();  // comes first, and only once
  EXPECT_EQ(library_places(built), (std::vector<std::string>{name, path, toolkit, old_pip, new_pip, home, beside}));
}

TEST_F(LibraryFile, ANamedFileIsTheOnlyPlace) {
  const std::string file = make("mine.so");
  const test::Environment named(kVariable, file.c_str());
  EXPECT_EQ(library_places(missing()), std::vector<std::string>{file});
}

TEST_F(LibraryFile, SaysWhatWasTried) {
  std::string why_not;
  EXPECT_EQ(load_library(missing(), why_not), nullptr);
  for (const char* part : {"cuNothing", "libfrieze_nothing.so.7", "LD_LIBRARY_PATH", kVariable})
    EXPECT_TRUE(holds(why_not, part)) << why_not;
  EXPECT_FALSE(holds(why_not, "\n"));
}

TEST_F(LibraryFile, ANamedFileThatCannotBeLoadedIsAnError) {
  for (const std::string& file : {folder_.file("absent.so"), make("empty.so"), folder_.path().string()}) {
    const test::Environment named(kVariable, file.c_str());
    std::string why_not;
    try {
      (void)load_library(missing(), why_not);
      FAIL() << file << " was loaded";
    } catch (const CudaError& e) {
      for (const std::string& part : {std::string(kVariable), std::string("cuNothing"), file})
        EXPECT_TRUE(holds(e.what(), part)) << e.what();
    }
  }
}

TEST_F(LibraryFile, LoadsAndFindsFunctions) {
  std::string why_not;
  void* const library = load_library({"libm", "libm.so.6", kVariable, "", "m"}, why_not);
  ASSERT_NE(library, nullptr) << why_not;
  double (*cosine)(double) = nullptr;
  EXPECT_TRUE(find_function(library, "cos", cosine));
  EXPECT_EQ(cosine(0), 1.0);
  void (*none)() = nullptr;
  EXPECT_FALSE(find_function(library, "frieze_no_such_function", none));
}

TEST(NoDevice, TellsNoDriverOldDriverAndNoDeviceApart) {
  const test::Environment all("CUDA_VISIBLE_DEVICES", nullptr);
  EXPECT_EQ(why_no_device(cudaErrorInsufficientDriver, 0, 13000), "no CUDA driver is installed (libcuda.so.1 was not found)");
  EXPECT_EQ(why_no_device(cudaErrorInsufficientDriver, 12040, 13000),
            "the driver is for CUDA 12.4, and this program was built with CUDA 13.0");
  EXPECT_EQ(why_no_device(cudaErrorNoDevice, 13000, 13000), "the driver finds no device");
  EXPECT_EQ(why_no_device(cudaSuccess, 13000, 13000), "the driver finds no device");
  EXPECT_EQ(why_no_device(cudaErrorUnknown, 13000, 13000), cudaGetErrorString(cudaErrorUnknown));
  const test::Environment hidden("CUDA_VISIBLE_DEVICES", "7\n");
  EXPECT_EQ(why_no_device(cudaErrorNoDevice, 13000, 13000), "the driver lists no device with CUDA_VISIBLE_DEVICES=7\\x0a");
}

}  // namespace
}  // namespace frieze::cuda
#else
TEST(LibraryFile, NeedsCuda) { GTEST_SKIP() << "needs a build with CUDA"; }
#endif

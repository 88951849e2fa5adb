#include <frieze/layers/conv2d/cudnn/cudnn_files.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>

#include <frieze/core/error.h>
#include <frieze/core/output_file.h>
#include <frieze/core/tuning_cache.h>

namespace frieze::cuda {
namespace {

namespace fs = std::filesystem;

// FNV-1a: against torn and truncated files, not against enemies, who could replace the program as well.
std::string hash_text(const std::string& text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  std::ostringstream out;
  out << std::hex << hash;
  return out.str();
}

fs::path folder() {
  const fs::path& cache = tuning_cache().file();
  return cache.empty() ? fs::path() : fs::path(cache.string() + ".plans");
}

std::string header(const std::string& key, const std::string& plan) {
  return concat_text("frieze plan 1\n", key, '\n', hash_text(plan), '\n');
}

}  // namespace

std::optional<std::string> find_plan_file(const std::string& key) {
  if (folder().empty()) return std::nullopt;
  std::ifstream in(folder() / (hash_text(key) + ".plan"), std::ios::binary);
  std::ostringstream bytes;
  if (!in || !(bytes << in.rdbuf())) return std::nullopt;
  const std::string text = bytes.str();
  std::size_t at = 0;
  for (int lines = 0; lines < 3; ++lines) {
    at = text.find('\n', at);
    if (at == std::string::npos) return std::nullopt;
    ++at;
  }
  std::string plan = text.substr(at);
  if (text.compare(0, at, header(key, plan)) != 0) return std::nullopt;
  return plan;
}

void store_plan_file(const std::string& key, const std::string& plan) {
  if (folder().empty()) return;
  std::error_code error;
  fs::create_directories(folder(), error);
  try {
    const std::string text = header(key, plan) + plan;
    write_file(folder() / (hash_text(key) + ".plan"), std::as_bytes(std::span(text)));
  } catch (const IoError&) {  // the next process compiles again
  }
}

}  // namespace frieze::cuda

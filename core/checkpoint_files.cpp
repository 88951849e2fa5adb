#include <frieze/core/checkpoint_files.h>

#include <algorithm>
#include <regex>
#include <set>
#include <span>
#include <vector>

#include <frieze/core/error.h>
#include <frieze/core/mapped_file.h>
#include <frieze/core/safetensors.h>

namespace frieze {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConvert =
    "convert it, in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors')";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

struct Candidate {
  fs::path path;
  std::string name;  // "model" or "model.fp16": without the endings, the variant of an index behind it
};

bool is_variant(const std::string& name, const std::string& variant) { return name.ends_with("." + variant) || name == variant; }

std::string list(const std::vector<Candidate>& candidates) {
  std::string names;
  for (const Candidate& c : candidates) names += concat_text(names.empty() ? "" : ", ", printable(c.path.filename().string()));
  return names;
}

}  // namespace

std::string foreign_kind(std::string_view begin) {
  const auto starts = [&](std::string_view magic) { return begin.starts_with(magic); };
  if (begin.empty()) return "is empty: the download did not finish, or the disk was full";
  if (starts("version https://git-lfs.github.com/")) {
    return "is a Git LFS pointer, which stands for the file: run 'git lfs pull' where it was cloned, or download the file itself";
  }
  if (starts(std::string_view("PK\3\4", 4)) || starts(std::string_view("PK\5\6", 4))) {
    return concat_text("is a zip archive, as PyTorch's .bin, .pt, .pth and .ckpt files are: ", kConvert);
  }
  if (starts("\x80\x02") || starts("\x80\x03") || starts("\x80\x04") || starts("\x80\x05")) {
    return concat_text("is a Python pickle, as old .bin, .pt, .pth and .ckpt files are: ", kConvert);
  }
  if (starts("GGUF")) return "is a GGUF file: the original weights in safetensors are needed";
  if (starts("\x1f\x8b") || starts("BZh") || starts("\xFD\x37zXZ") || starts("\x28\xB5\x2F\xFD") || starts("7z\xBC\xAF")) {
    return "is a compressed file: unpack it first";
  }
  if (starts("\x89HDF")) return "is an HDF5 file, as Keras writes them: save the weights as safetensors";
  if (starts("\x93NUMPY")) return "is a NumPy array: save the weights as safetensors";
  if (starts("\x89PNG") || starts("\xFF\xD8\xFF")) return "is a picture, not weights";
  const std::size_t text = begin.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  const std::string word = text == std::string_view::npos ? std::string() : lower(begin.substr(text, 32));
  if (word.starts_with("<!doctype") || word.starts_with("<html") || word.starts_with("<head") || word.starts_with("<?xml") ||
      word.starts_with("<!--") || word.starts_with("<error")) {
    return "is a web page that was saved instead of the weights: the address is another, or needs a login";
  }
  if (word.starts_with('{') || word.starts_with('['))
    return "is JSON text, not weights: an error message that was saved, or an index without .json in its name";
  constexpr std::size_t kTarMark = 257;
  if (begin.size() > kTarMark && begin.substr(kTarMark).starts_with("ustar")) return "is a tar archive: unpack it first";
  constexpr std::size_t kSentence = 12;
  if (begin.size() >= kSentence &&
      std::all_of(begin.begin(), begin.end(), [](char c) { return (c >= ' ' && c <= '~') || (c >= '\t' && c <= '\r'); })) {
    return concat_text("is text that begins with '", printable(begin.substr(text == std::string_view::npos ? 0 : text, 40)),
                       "': an error message that was saved, or a pointer to a file that is elsewhere");
  }
  return {};
}

std::map<std::string, std::string> read_safetensors_index(const fs::path& path) {
  const MappedFile file(path);
  check<WeightsError>(file.size() <= kMaxHeaderBytes, file.name(), ": an index of ", file.size(), " bytes, expected at most ",
                      kMaxHeaderBytes);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  const std::string kind =
      text.starts_with('{') || text.starts_with('[') ? std::string() : foreign_kind(std::string_view(text).substr(0, kSniffedBytes));
  check<WeightsError>(kind.empty(), file.name(), ": ", kind);
  return parse_safetensors_index(text, file.name());
}

fs::path pick_checkpoint(const fs::path& folder, const std::string& variant) {
  static const std::regex index_name(R"((.*)\.safetensors\.index(\.[^.]+)?\.json)"), file_name(R"((.*)\.safetensors)");
  static const std::regex shard_name(R"(.*-\d{5}-of-\d{5}(\.[^.]+)?)");
  const std::string where = printable(folder.string());
  std::vector<Candidate> indexes, files, shards;
  std::set<std::string> listed;  // by an index
  std::string foreign, unfinished;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::smatch parts;
    if (name.starts_with('.') || name.size() > 255) continue;
    if (std::regex_match(name, parts, index_name)) {
      indexes.push_back({it->path(), parts[1].str() + parts[2].str()});
      try {
        for (const auto& [tensor, shard] : read_safetensors_index(it->path())) listed.insert(shard);
      } catch (const Error&) {  // it is told if this index is the one that is opened
      }
    } else if (std::regex_match(name, parts, file_name)) {
      (std::regex_match(parts[1].str(), shard_name) ? shards : files).push_back({it->path(), parts[1].str()});
    } else if (name.ends_with(".safetensors.incomplete") || name.ends_with(".safetensors.part") ||
               name.ends_with(".safetensors.crdownload")) {
      unfinished = printable(name);
    } else if (const std::string ending = lower(it->path().extension().string());
               ending == ".bin" || ending == ".pt" || ending == ".pth" || ending == ".ckpt" || ending == ".gguf") {
      foreign = printable(name);
    }
  }
  check<IoError>(!error, where, ": cannot be listed: ", error.message());
  std::vector<Candidate> candidates = std::move(indexes);
  for (const Candidate& file : files) {
    if (!listed.contains(file.path.filename().string())) candidates.push_back(file);
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.path < b.path; });
  if (candidates.empty()) {
    check<WeightsError>(shards.empty(), where, ": the index of ", list(shards),
                        " (*.safetensors.index.json) is not there: download it too");
    check<WeightsError>(unfinished.empty(), where, ": ", unfinished, ": its download did not finish: begin it again");
    check<WeightsError>(foreign.empty(), where, ": expected a file *.safetensors in this folder, got ", foreign, ": ", kConvert);
    throw WeightsError(where + ": expected a file *.safetensors or *.safetensors.index.json in this folder, got none");
  }
  const std::vector<Candidate> all = candidates;
  if (!variant.empty()) {
    std::erase_if(candidates, [&](const Candidate& c) { return !is_variant(c.name, variant); });
    check<WeightsError>(!candidates.empty(), where, ": no checkpoint of the variant '", printable(variant), "' in this folder, which has ",
                        list(all));
  } else {  // model.fp16 is a variant of model
    std::erase_if(candidates, [&](const Candidate& c) {
      return std::any_of(all.begin(), all.end(), [&](const Candidate& plain) { return c.name.starts_with(plain.name + "."); });
    });
  }
  check<WeightsError>(candidates.size() == 1, where, ": expected one checkpoint in this folder, got ", candidates.size(), " (",
                      list(candidates), "): name one of them, or a variant");
  return candidates.front().path;
}

}  // namespace frieze

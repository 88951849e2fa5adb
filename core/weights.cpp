#include <frieze/core/weights.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include <frieze/core/checkpoint_files.h>
#include <frieze/core/error.h>
#include <frieze/core/mapped_file.h>
#include <frieze/core/safetensors.h>

namespace frieze {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and is used as it lies");

namespace fs = std::filesystem;

struct Weights::Content {
  std::string source;
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::map<std::string, WeightsTensor> tensors;
  std::map<std::string, std::string> metadata;

  // Copies the tensor's bytes out of its file; unlike the mapping, a read can fail without a signal.
  void read(const WeightsTensor& tensor, std::size_t offset, std::span<std::byte> out) const {
    if (out.empty()) return;
    const std::byte* at = tensor.data.data() + offset;
    for (const auto& file : files) {
      const std::span<const std::byte> all = file->bytes();
      if (std::less<>{}(at, all.data()) || !std::less<>{}(at, all.data() + all.size())) continue;
      return file->read(static_cast<std::uint64_t>(at - all.data()), out);
    }
    std::memcpy(out.data(), at, out.size());  // of no file: memory that view() was given
  }
};

namespace {

struct OpenedFile {
  std::unique_ptr<MappedFile> file;
  SafetensorsHeader header;
  std::size_t data_at = 0;
};

// The header of a file of `size` bytes, of which `read(offset, bytes)` gives any part; and where the data begins.
template <class Read>
std::pair<SafetensorsHeader, std::size_t> read_header(const std::string& name, std::uint64_t size, const Read& read) {
  constexpr std::uint64_t kLengthBytes = 8;
  check<WeightsError>(size >= kLengthBytes, name, ": header length: expected a file of at least 8 bytes, got ", size);
  std::uint64_t length = 0;
  read(0, std::as_writable_bytes(std::span(&length, 1)));
  check<WeightsError>(length <= kMaxHeaderBytes, name, ": header length: ", length, " bytes, expected at most ", kMaxHeaderBytes);
  check<WeightsError>(length <= size - kLengthBytes, name, ": header length: ", length, " bytes, but only ", size - kLengthBytes,
                      " follow in the file");
  std::string json(static_cast<std::size_t>(length), '\0');
  read(kLengthBytes, std::as_writable_bytes(std::span(json)));
  const std::uint64_t data_at = kLengthBytes + length;
  return {parse_safetensors_header(json, size - data_at, name), static_cast<std::size_t>(data_at)};
}

OpenedFile open_file(const fs::path& path) {
  auto file = std::make_unique<MappedFile>(path);
  try {
    auto [header, data_at] =
        read_header(file->name(), file->size(), [&](std::uint64_t offset, std::span<std::byte> out) { file->read(offset, out); });
    return {std::move(file), std::move(header), data_at};
  } catch (const WeightsError&) {
    std::string begin(static_cast<std::size_t>(std::min<std::uint64_t>(file->size(), kSniffedBytes)), '\0');
    file->read(0, std::as_writable_bytes(std::span(begin)));
    const std::string kind = foreign_kind(begin);
    check<WeightsError>(kind.empty(), file->name(), ": ", kind);
    throw;
  }
}

// Adds one file's tensors, which lie in `data`, to what was opened.
void adopt_tensors(std::map<std::string, WeightsTensor>& tensors, const SafetensorsHeader& header, std::span<const std::byte> data) {
  for (const auto& [name, e] : header.tensors) {
    tensors[name] = {e.dtype, e.shape, data.subspan(static_cast<std::size_t>(e.begin), static_cast<std::size_t>(e.end - e.begin))};
  }
}

}  // namespace

Weights Weights::open(const fs::path& path, const std::string& variant) {
  auto content = std::make_shared<Content>();
  content->source = printable(path.string());
  std::error_code ignored;  // whatever is wrong with the path, opening it will say
  const fs::path file = fs::is_directory(path, ignored) ? pick_checkpoint(path, variant) : path;

  const auto adopt = [&](OpenedFile opened) {
    adopt_tensors(content->tensors, opened.header, opened.file->bytes().subspan(opened.data_at));
    content->metadata.merge(opened.header.metadata);
    content->files.push_back(std::move(opened.file));
  };
  if (file.extension() != ".json") {
    adopt(open_file(file));
    return Weights(std::move(content));
  }

  const std::string index_name = printable(file.string());
  const std::map<std::string, std::string> index = read_safetensors_index(file);
  std::map<std::string, std::vector<std::string>> listed;  // shard -> its tensors
  for (const auto& [tensor, shard] : index) listed[shard].push_back(tensor);
  for (const auto& [shard, tensors] : listed) {
    const fs::path shard_file = file.parent_path() / shard;
    check<IoError>(fs::exists(shard_file, ignored), index_name, ": the file '", printable(shard),
                   "' that it lists is not there: download it too");
    OpenedFile opened = open_file(shard_file);
    for (const std::string& tensor : tensors) {
      check<WeightsError>(opened.header.tensors.contains(tensor), index_name, ": weight_map: tensor '", printable(tensor),
                          "' is not in the file '", printable(shard), "'");
    }
    for (const auto& [tensor, _] : opened.header.tensors) {
      const auto at = index.find(tensor);
      check<WeightsError>(at != index.end(), index_name, ": weight_map: tensor '", printable(tensor), "' of the file '", printable(shard),
                          "' is not listed");
      check<WeightsError>(at->second == shard, index_name, ": weight_map: tensor '", printable(tensor), "' is listed in '",
                          printable(at->second), "', but '", printable(shard), "' holds it too");
    }
    adopt(std::move(opened));
  }
  return Weights(std::move(content));
}

Weights Weights::view(std::span<const std::byte> file, const std::string& name) {
  auto content = std::make_shared<Content>();
  content->source = printable(name);
  auto [header, data_at] = read_header(content->source, file.size(), [&](std::uint64_t offset, std::span<std::byte> out) {
    if (!out.empty()) std::memcpy(out.data(), file.data() + offset, out.size());
  });
  adopt_tensors(content->tensors, header, file.subspan(data_at));
  content->metadata = std::move(header.metadata);
  return Weights(std::move(content));
}

Weights Weights::with_names(const std::map<std::string, std::string>& names, const std::string& note) const {
  auto content = std::make_shared<Content>();
  content->source = source() + note;
  content->files = content_->files;
  content->metadata = metadata();
  for (const auto& [name, here] : names) content->tensors.emplace(name, at(here));
  return Weights(std::move(content));
}

Weights Weights::without_prefix(const std::string& prefix) const {
  std::map<std::string, std::string> names;
  for (const auto& [name, tensor] : tensors()) {
    check<WeightsError>(name.starts_with(prefix) && name.size() > prefix.size(), source(), ": tensor '", printable(name),
                        "' does not begin with '", printable(prefix), "'");
    names.emplace(name.substr(prefix.size()), name);
  }
  return with_names(names, concat_text(" (without '", printable(prefix), "' before its names)"));
}

Weights without_foreign_prefix(const Weights& weights, const std::set<std::string>& expected) {
  const auto& tensors = weights.tensors();
  if (tensors.empty()) return weights;
  // What the first and the last name of a sorted list share, all of them share.
  const std::string &first = tensors.begin()->first, &last = tensors.rbegin()->first;
  const std::size_t shared =
      static_cast<std::size_t>(std::mismatch(first.begin(), first.end(), last.begin(), last.end()).first - first.begin());
  for (std::size_t length = 0; length <= shared;) {
    for (const auto& [name, _] : tensors) {
      if (!expected.contains(name.substr(length))) continue;
      return length == 0 ? weights : weights.without_prefix(first.substr(0, length));
    }
    const std::size_t dot = first.find('.', length);
    if (dot == std::string::npos || dot >= shared) break;
    length = dot + 1;
  }
  return weights;
}

const std::map<std::string, WeightsTensor>& Weights::tensors() const { return content_->tensors; }
const std::map<std::string, std::string>& Weights::metadata() const { return content_->metadata; }
const std::string& Weights::source() const { return content_->source; }

const WeightsTensor& Weights::at(const std::string& name) const {
  const auto found = content_->tensors.find(name);
  check<WeightsError>(found != content_->tensors.end(), source(), ": no tensor '", printable(name), "'");
  return found->second;
}

std::vector<float> Weights::floats(const std::string& name) const {
  const WeightsTensor& tensor = at(name);
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  if (tensor.dtype == "F32") {
    content_->read(tensor, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
  const bool wide = tensor.dtype == "F64";
  check<WeightsError>(wide || tensor.dtype == "F16" || tensor.dtype == "BF16", source(), ": tensor '", printable(name), "': dtype: got ",
                      tensor.dtype, ", expected F32, F16, BF16 or F64");
  constexpr std::size_t kChunk = 1 << 16;  // elements; bounds the second copy
  const std::size_t element = wide ? 8 : 2;
  const DType half = tensor.dtype == "F16" ? DType::f16 : DType::bf16;
  std::vector<double> buffer(std::min(values.size(), kChunk));  // of doubles, so that it is aligned for all three types
  for (std::size_t first = 0; first < values.size(); first += kChunk) {
    const std::size_t count = std::min(kChunk, values.size() - first);
    content_->read(tensor, first * element, std::as_writable_bytes(std::span(buffer)).first(count * element));
    for (std::size_t i = 0; i < count; ++i) {
      values[first + i] = wide ? round_to(DType::f32, buffer[i]) : load_element(half, buffer.data(), i);
    }
  }
  return values;
}

HostTensor Weights::tensor(const std::string& name) const {
  const WeightsTensor& tensor = at(name);
  constexpr std::pair<std::string_view, DType> kTypes[] = {
      {"F32", DType::f32}, {"F16", DType::f16}, {"BF16", DType::bf16}, {"I32", DType::i32}, {"I64", DType::i64}};
  const auto* const type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.first == tensor.dtype; });
  check<WeightsError>(type != std::end(kTypes), source(), ": tensor '", printable(name), "': dtype: got ", tensor.dtype,
                      ", expected F32, F16, BF16, I32 or I64");
  HostTensor out({tensor.shape, type->second});
  content_->read(tensor, 0, {static_cast<std::byte*>(out.data()), out.bytes()});
  return out;
}

}  // namespace frieze

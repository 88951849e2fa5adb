#include <algorithm>
#include <nlohmann/json.hpp>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/output_file.h>
#include <frieze/core/safetensors.h>
#include <frieze/core/weights.h>

namespace frieze {
namespace {

using Item = const std::pair<const std::string, HostTensor>*;

std::string quoted(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw WeightsError(concat_text(file, ": '", printable(text, 80), "' is not UTF-8, which a safetensors header must be"));
  }
}

std::string_view file_dtype(DType t) {
  switch (t) {
    case DType::f32: return "F32";
    case DType::f16: return "F16";
    case DType::bf16: return "BF16";
    case DType::i32: return "I32";
    case DType::i64: return "I64";
  }
  return "?";
}

// The header, padded with spaces so that the data begins at a multiple of 8 bytes.
std::string header_text(const std::vector<Item>& order, const std::map<std::string, std::string>& metadata, const std::string& file) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += R"("__metadata__":{)";
    for (const auto& [key, value] : metadata) text += quoted(key, file) + ":" + quoted(value, file) + ",";
    text.back() = '}';
    text += ',';
  }
  std::int64_t offset = 0;
  for (const Item item : order) {
    const auto& [name, tensor] = *item;
    check<WeightsError>(name != "__metadata__" && name.size() <= kMaxTensorName, file, ": '", printable(name, 80),
                        "' cannot be a tensor's name: reserved, or longer than ", kMaxTensorName, " bytes");
    const TensorSpec& spec = tensor.spec();
    check<WeightsError>(static_cast<std::int64_t>(tensor.bytes()) == spec.bytes(), file, ": tensor '", printable(name), "' holds no data");
    const std::int64_t end = checked_add(offset, spec.bytes(), "file size");
    text += concat_text(quoted(name, file), R"(:{"dtype":")", file_dtype(spec.dtype), R"(","shape":)", spec.shape, R"(,"data_offsets":[)",
                        offset, ',', end, "]},");
    offset = end;
  }
  if (text.size() > 1) text.pop_back();
  text += '}';
  text.resize(round_up(text.size(), 8), ' ');
  check<WeightsError>(text.size() <= kMaxHeaderBytes && order.size() <= kMaxTensors, file, ": a header of ", text.size(), " bytes for ",
                      order.size(), " tensors, expected at most ", kMaxHeaderBytes, " for ", kMaxTensors);
  return text;
}

}  // namespace

void write_safetensors(OutputFile& file, const std::map<std::string, HostTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<Item> order;
  order.reserve(tensors.size());
  for (const auto& item : tensors) order.push_back(&item);
  // Wide elements first: with no gaps between them, all are aligned.
  std::stable_sort(order.begin(), order.end(),
                   [](Item a, Item b) { return size_of(a->second.spec().dtype) > size_of(b->second.spec().dtype); });
  const std::string header = header_text(order, metadata, file.name());
  const std::uint64_t length = header.size();

  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const Item item : order) {
    const HostTensor& tensor = item->second;
    const auto write = [&](const HostTensor& t) { file.write({static_cast<const std::byte*>(t.data()), t.bytes()}); };
    if (tensor.spec().format == Format::nchw || same_layout(tensor.spec().shape)) {
      write(tensor);
    } else {
      write(tensor.converted(tensor.spec().dtype, Format::nchw));
    }
  }
}

void save_safetensors(const std::filesystem::path& path, const std::map<std::string, HostTensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  OutputFile file(path);
  write_safetensors(file, tensors, metadata);
  file.commit();
}

}  // namespace frieze

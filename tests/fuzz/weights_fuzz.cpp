// libFuzzer target for the safetensors reader. Random bytes die at the header's first character, so the mutator works on the
// parsed header: it breaks one field of an otherwise right file, or grows a right file into another right one.
// What the reader accepts is checked again here by other means; what it refuses must come with one clean line.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include <frieze/core/error.h>
#include <frieze/core/safetensors.h>
#include <frieze/core/weights.h>

#include "fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using Json = nlohmann::ordered_json;
using Rng = std::minstd_rand;

using frieze::fuzz::check_message;
using frieze::fuzz::require;

// --- The oracle -----------------------------------------------------------------------------------------------------

__extension__ using Wide = unsigned __int128;

// Bytes of a type, written down a second time so that the reader's own table is not trusted.
std::uint64_t bytes_of(const std::string& dtype) {
  if (dtype == "BOOL" || dtype == "U8" || dtype == "I8" || dtype == "F8_E4M3" || dtype == "F8_E5M2") return 1;
  if (dtype == "I16" || dtype == "U16" || dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "I32" || dtype == "U32" || dtype == "F32") return 4;
  return dtype == "F64" || dtype == "I64" || dtype == "U64" ? 8 : 0;
}

void check_accepted(const frieze::Weights& weights, std::string_view file) {
  require(file.size() >= 8, "an accepted file has a header length");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  require(length <= file.size() - 8, "the header is inside the file");
  const Json header = Json::parse(file.substr(8, length));
  const std::uint64_t data_bytes = file.size() - 8 - length;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  std::size_t tensors = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ++tensors;
    require(weights.contains(name), "every tensor is there", name);
    const frieze::WeightsTensor& tensor = weights.at(name);
    Wide bytes = bytes_of(entry.at("dtype").get<std::string>());
    require(bytes > 0, "the type is in the list");
    require(entry.at("shape").size() == static_cast<std::size_t>(tensor.shape.rank()) && tensor.shape.rank() <= 8, "rank");
    int axis = 0;
    for (const Json& extent : entry.at("shape")) {
      require(extent.is_number_unsigned(), "an extent is a non-negative integer");
      require(tensor.shape[axis++] == extent.get<std::int64_t>(), "extent");
      bytes = std::min<Wide>(bytes * extent.get<std::uint64_t>(), ~std::uint64_t{0});  // cannot wrap: 2^64 * 2^64 fits
    }
    const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>(), end = entry.at("data_offsets").at(1).get<std::uint64_t>();
    require(begin <= end && end <= data_bytes && end - begin == bytes, "the range holds the tensor", name);
    require(tensor.data.size() == bytes, "so does the span", name);
    require(std::memcmp(tensor.data.data(), file.data() + 8 + length + begin, bytes) == 0, "the span shows the range", name);
    if (begin < end) ranges.emplace_back(begin, end);
  }
  require(tensors == weights.tensors().size(), "no tensor is made up");
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t reached = 0;
  for (const auto& [begin, end] : ranges) {
    require(begin == reached, "the ranges tile the data");
    reached = end;
  }
  require(reached == data_bytes, "nothing lies behind the tensors");
  for (const auto& [name, tensor] : weights.tensors()) {
    const bool real = tensor.dtype == "F32" || tensor.dtype == "F16" || tensor.dtype == "BF16" || tensor.dtype == "F64";
    if (real) require(weights.floats(name).size() == static_cast<std::size_t>(tensor.shape.elements()), "as many values", name);
    if (real && tensor.dtype != "F64") {
      require(std::memcmp(weights.tensor(name).data(), tensor.data.data(), tensor.data.size()) == 0, "the bits survive", name);
    }
  }
}

// --- The mutator ----------------------------------------------------------------------------------------------------

std::size_t below(Rng& rng, std::size_t n) { return rng() % n; }

struct Tensor {
  std::string name, dtype;
  std::vector<std::string> shape, offsets;  // JSON text, so that any number can stand there
  std::string extra;                        // more members, as text
  bool skip[3] = {false, false, false};     // leave out dtype, shape, data_offsets
};

struct File {
  std::vector<Tensor> tensors;
  std::string metadata, data, tail;  // tail: text behind the header's last brace
  std::int64_t length_error = 0;     // what the header length is off by
};

constexpr const char* kTypes[] = {"F32", "F16", "BF16", "F64",     "I64",     "I32", "U8",  "BOOL", "I8",  "I16",
                                  "U16", "U32", "U64",  "F8_E4M3", "F8_E5M2", "F4",  "f32", "",     "C64", "\\u0046\\u0033\\u0032"};
constexpr const char* kNumbers[] = {"0",
                                    "1",
                                    "2",
                                    "3",
                                    "7",
                                    "255",
                                    "65536",
                                    "2147483647",
                                    "2147483648",
                                    "4294967295",
                                    "4294967296",
                                    "4294967297",
                                    "-1",
                                    "-0",
                                    "1e3",
                                    "1.5",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "-9223372036854775808",
                                    "18446744073709551615",
                                    "18446744073709551616",
                                    "1e999",
                                    "4611686018427387904",
                                    "2305843009213693952",
                                    "null",
                                    "true",
                                    "\"1\"",
                                    "[]",
                                    "{}",
                                    "[[[[[[[[[]]]]]]]]]"};
constexpr const char* kExtras[] = {R"("strides":[1])",        R"("dtype":"F32")", R"("shape":[])",
                                   R"("data_offsets":[0,0])", R"("":{})",         R"("x":[[[[{"y":[]}]]]])"};
constexpr const char* kMetadata[] = {"",   R"({})", R"({"format":"pt"})",    R"({"a":"1","a":"2"})", R"({"a":1})", R"({"a":{}})",
                                     "[]", "null",  R"({"\u0000":"\ud800"})"};

template <std::size_t N>
const char* pick(Rng& rng, const char* const (&list)[N]) {
  return list[below(rng, N)];
}

std::string to_text(const File& file) {
  std::string json = "{";
  const auto list = [](const std::vector<std::string>& items) {
    std::string text = "[";
    for (const std::string& item : items) text += (text.size() > 1 ? "," : "") + item;
    return text + "]";
  };
  if (!file.metadata.empty()) json += "\"__metadata__\":" + file.metadata + ",";
  for (const Tensor& t : file.tensors) {
    std::string members;
    if (!t.skip[0]) members += ",\"dtype\":\"" + t.dtype + "\"";
    if (!t.skip[1]) members += ",\"shape\":" + list(t.shape);
    if (!t.skip[2]) members += ",\"data_offsets\":" + list(t.offsets);
    if (!t.extra.empty()) members += "," + t.extra;
    json += "\"" + t.name + "\":{" + (members.empty() ? "" : members.substr(1)) + "},";
  }
  if (json.back() == ',') json.pop_back();
  json += "}" + file.tail;
  const std::uint64_t length = json.size() + static_cast<std::uint64_t>(file.length_error);
  return std::string(reinterpret_cast<const char*>(&length), 8) + json + file.data;
}

// Makes offsets and data fit the shapes again, as far as the shapes are sane.
void repair(File& file) {
  std::uint64_t at = 0;
  for (Tensor& t : file.tensors) {
    std::uint64_t bytes = bytes_of(t.dtype);
    for (const std::string& extent : t.shape)
      bytes = std::min<std::uint64_t>(bytes, 4096) * std::min<std::uint64_t>(std::strtoull(extent.c_str(), nullptr, 10), 64);
    bytes = std::min<std::uint64_t>(bytes, 4096);
    t.offsets = {std::to_string(at), std::to_string(at + bytes)};
    at += bytes;
  }
  file.data.resize(at, '\x3c');
}

File fresh(Rng& rng) {
  File file;
  for (std::size_t i = 0; i < 1 + below(rng, 4); ++i) {
    Tensor t{"t" + std::to_string(i), kTypes[below(rng, 15)], {}, {}, {}, {}};
    for (std::size_t axis = below(rng, 5); axis > 0; --axis) t.shape.push_back(std::to_string(below(rng, 4)));
    file.tensors.push_back(t);
  }
  repair(file);
  return file;
}

// The model of a file that is more or less right; a fresh one for anything else.
File parse(std::string_view bytes, Rng& rng) {
  File file;
  std::uint64_t length = 0;
  if (bytes.size() < 10) return fresh(rng);
  std::memcpy(&length, bytes.data(), 8);
  const std::string_view rest = bytes.substr(8);
  const std::string_view json = rest.substr(0, std::min<std::size_t>(rest.size(), length));
  // dump() recurses, so what is nested deeply is left to the byte mutations.
  const Json header = std::count_if(json.begin(), json.end(), [](char c) { return c == '[' || c == '{'; }) > 500
                          ? Json()
                          : Json::parse(json, nullptr, false);
  if (!header.is_object()) return fresh(rng);
  for (const auto& item : header.items()) {
    const std::string& name = item.key();
    const Json& entry = item.value();
    if (name == "__metadata__") {
      file.metadata = entry.dump(-1, ' ', true, Json::error_handler_t::replace);
      continue;
    }
    Tensor t;
    const std::string quoted = Json(name).dump(-1, ' ', true, Json::error_handler_t::replace);
    t.name = quoted.substr(1, quoted.size() - 2);
    if (entry.is_object()) {
      if (entry.contains("dtype") && entry["dtype"].is_string()) t.dtype = entry["dtype"].get<std::string>().substr(0, 12);
      std::erase_if(t.dtype, [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; });
      const auto items = [&](const char* field, std::vector<std::string>& out) {
        if (entry.contains(field) && entry[field].is_array()) {
          for (const Json& number : entry[field]) out.push_back(number.dump(-1, ' ', true, Json::error_handler_t::replace));
        }
      };
      items("shape", t.shape);
      items("data_offsets", t.offsets);
    }
    file.tensors.push_back(std::move(t));
  }
  file.data = rest.substr(json.size());
  return file.tensors.empty() ? fresh(rng) : file;
}

void mutate_once(File& file, Rng& rng) {
  if (file.tensors.empty()) file = fresh(rng);
  Tensor& t = file.tensors[below(rng, file.tensors.size())];
  const auto any = [&](std::vector<std::string>& list) -> std::string& {
    if (list.empty()) list.emplace_back("0");
    return list[below(rng, list.size())];
  };
  switch (below(rng, 22)) {
    case 0: any(t.shape) = pick(rng, kNumbers); break;
    case 1: any(t.offsets) = pick(rng, kNumbers); break;
    case 2: any(t.offsets) = std::to_string(std::strtoull(any(t.offsets).c_str(), nullptr, 10) + below(rng, 17) - 8); break;
    case 3: t.shape = {"4294967296", "4294967296"}; break;  // wraps to zero elements
    case 4: t.shape.insert(t.shape.begin() + static_cast<std::ptrdiff_t>(below(rng, t.shape.size() + 1)), pick(rng, kNumbers)); break;
    case 5: t.shape.clear(); break;
    case 6: std::reverse(t.offsets.begin(), t.offsets.end()); break;
    case 7: t.dtype = pick(rng, kTypes); break;
    case 8: t.extra = pick(rng, kExtras); break;
    case 9: t.skip[below(rng, 3)] = true; break;
    case 10: file.tensors.push_back(Tensor(t)); break;                                                                 // the same key twice
    case 11: t.offsets = file.tensors[below(rng, file.tensors.size())].offsets; break;                                 // overlap
    case 12: file.tensors.erase(file.tensors.begin() + static_cast<std::ptrdiff_t>(&t - file.tensors.data())); break;  // gap
    case 13: file.metadata = pick(rng, kMetadata); break;
    case 14: file.data.append(1 + below(rng, 16), 'g'); break;
    case 15: file.data.resize(below(rng, file.data.size() + 1)); break;
    case 16: file.length_error = static_cast<std::int64_t>(below(rng, 33)) - 16; break;
    case 17: file.length_error = std::numeric_limits<std::int64_t>::max() >> below(rng, 40); break;
    case 18: t.name.append(below(rng, 8) == 0 ? 1100 : 1, static_cast<char>('a' + below(rng, 26))); break;
    case 19: file.tail = below(rng, 2) == 0 ? std::string(below(rng, 9), ' ') : std::string("\0{", 2); break;
    case 20: std::shuffle(file.tensors.begin(), file.tensors.end(), rng); break;
    case 21: {  // a further tensor, behind the last
      Tensor more{"n" + std::to_string(below(rng, 1000)), kTypes[below(rng, 15)], {std::to_string(below(rng, 5))}, {}, {}, {}};
      file.tensors.push_back(std::move(more));
      break;
    }
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  Rng rng(seed + 1);
  std::string text;
  if (below(rng, 8) == 0 && size > 9) {  // the header's text itself, under a length that fits
    std::uint64_t length = 0;
    std::memcpy(&length, data, 8);
    length = std::min<std::uint64_t>(length, size - 8);
    std::string json(reinterpret_cast<const char*>(data) + 8, length);
    json.resize(length + 32);
    const std::size_t mutated = LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(json.data()), length, json.size());
    json.resize(mutated);
    const std::uint64_t new_length = mutated;
    text = std::string(reinterpret_cast<const char*>(&new_length), 8) + json +
           std::string(reinterpret_cast<const char*>(data) + 8 + length, size - 8 - length);
  } else {
    File file = parse({reinterpret_cast<const char*>(data), size}, rng);
    for (std::size_t i = 0; i < 1 + below(rng, 3); ++i) mutate_once(file, rng);
    if (below(rng, 3) == 0) repair(file);
    text = to_text(file);
  }
  const std::size_t kept = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), kept);
  return kept;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const int fd = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  require(::ftruncate(fd, 0) == 0 && ::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size), "the file in memory is written");
  try {
    check_accepted(frieze::Weights::open(path), bytes);
  } catch (const frieze::WeightsError& e) {
    check_message(e.what(), path);  // any other exception is a finding
  }
  // The same text as an index: what it accepts are plain file names.
  try {
    for (const auto& [tensor, shard] : frieze::parse_safetensors_index(bytes.substr(std::min<std::size_t>(8, size)), "index.json")) {
      require(!shard.empty() && shard != "." && shard != ".." && shard.find('/') == std::string::npos, "a shard is a plain name", shard);
    }
  } catch (const frieze::WeightsError& e) {
    check_message(e.what(), "index.json");
  }
  return 0;
}

#include <frieze/core/safetensors.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include <frieze/core/error.h>

namespace frieze {
namespace {

using Json = nlohmann::json;

constexpr std::pair<std::string_view, std::size_t> kDTypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
                                                                {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                                                {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};

// Events of nlohmann's parser, which keeps its own stack instead of recursing. A document tree would silently keep the
// last of two equal keys and grow without bound; events let each be refused where it stands.
class Events : public nlohmann::json_sax<Json> {
 public:
  explicit Events(const std::string& file) : file_(file) {}

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t v) override { return scalar(std::to_string(v)); }
  bool number_unsigned(number_unsigned_t v) override { return number(v); }
  bool number_float(number_float_t, const string_t& text) override { return scalar(printable(text, 40)); }
  bool string(string_t& text) override { return text_value(text); }
  bool binary(binary_t&) override { return scalar("binary"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ... - REASON; last read: ...".
    std::string_view reason = e.what();
    if (const auto at = reason.find("] "); at != std::string_view::npos) reason.remove_prefix(at + 2);
    fail("not valid JSON at byte ", position, ": ", printable(reason, 240));
  }

 protected:
  // What a subclass may find; by default an error.
  virtual bool scalar(const std::string& got) = 0;
  virtual bool number(std::uint64_t v) { return scalar(std::to_string(v)); }
  virtual bool text_value(const std::string& text) { return scalar(concat_text("'", printable(text, 80), "'")); }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw WeightsError(concat_text(file_, ": ", parts...));
  }

 private:
  const std::string& file_;
};

void parse(std::string_view json, Events& events, const std::string& file, const char* what) {
  check<WeightsError>(!json.empty() && json.front() == '{', file, ": ", what, ": expected a JSON object, beginning with '{'");
  // nlohmann takes a zero byte for the end of the text, and would not look at what follows.
  check<WeightsError>(std::memchr(json.data(), 0, json.size()) == nullptr, file, ": ", what, ": holds a zero byte, which is not JSON");
  Json::sax_parse(json.begin(), json.end(), &events);
}

class HeaderEvents final : public Events {
 public:
  HeaderEvents(const std::string& file, SafetensorsHeader& header) : Events(file), header_(header) {}

  bool start_object(std::size_t) override {
    switch (at_) {
      case At::start: at_ = At::top; return true;
      case At::entry: at_ = At::tensor; return true;
      case At::metadata_entry: at_ = At::metadata; return true;
      default: return scalar("an object");
    }
  }

  bool key(string_t& name) override {
    switch (at_) {
      case At::top: return top_key(name);
      case At::tensor: return field_key(name);
      case At::metadata:
        if (!header_.metadata.try_emplace(name).second) fail("__metadata__: the key '", printable(name, 80), "' is there twice");
        metadata_key_ = name;
        at_ = At::metadata_value;
        return true;
      default: fail("header: unexpected key '", printable(name, 80), "'");
    }
  }

  bool end_object() override {
    if (at_ == At::tensor) {
      for (std::size_t i = 0; i < kFields.size(); ++i) {
        if ((seen_ >> i & 1U) == 0) fail("tensor '", printable(tensor_), "': ", kFields[i], ": missing");
      }
    }
    at_ = At::top;  // after the outermost one the parser allows nothing but blanks
    return true;
  }

  bool start_array(std::size_t) override {
    switch (at_) {
      case At::shape: at_ = At::shape_items; return true;
      case At::offsets: at_ = At::offset_items; return true;
      default: return scalar("an array");
    }
  }

  bool end_array() override {
    if (at_ == At::offset_items && numbers_.size() != 2) return scalar(concat_text(numbers_.size(), " numbers"));
    if (at_ == At::shape_items) {
      try {
        entry().shape = Shape(std::vector<std::int64_t>(numbers_.begin(), numbers_.end()));
      } catch (const ShapeError& e) {
        fail("tensor '", printable(tensor_), "': shape: ", e.what());
      }
    } else {
      entry().begin = numbers_[0];
      entry().end = numbers_[1];
    }
    at_ = At::tensor;
    return true;
  }

 protected:
  bool number(std::uint64_t v) override {
    if (at_ != At::shape_items && at_ != At::offset_items) return scalar(std::to_string(v));
    const std::size_t limit = at_ == At::shape_items ? Shape::kMaxRank : 2;
    if (numbers_.size() == limit) fail("tensor '", printable(tensor_), "': ", field(), ": more than ", limit, " numbers");
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (v > kMost) fail("tensor '", printable(tensor_), "': ", field(), ": ", v, " is past 2^63 - 1");
    numbers_.push_back(v);
    return true;
  }

  bool text_value(const std::string& text) override {
    if (at_ == At::metadata_value) {
      header_.metadata[metadata_key_] = text;
      at_ = At::metadata;
      return true;
    }
    if (at_ != At::dtype) return Events::text_value(text);
    if (safetensors_dtype_bytes(text) == 0) {
      std::string known;
      for (const auto& [dtype, _] : kDTypes) known += concat_text(known.empty() ? "" : ", ", dtype);
      fail("tensor '", printable(tensor_), "': dtype: unknown type '", printable(text, 40), "', expected one of ", known);
    }
    entry().dtype = text;
    at_ = At::tensor;
    return true;
  }

  // Whatever stands where something else must stand.
  bool scalar(const std::string& got) override {
    switch (at_) {
      case At::start:
      case At::top: fail("header: expected an object, got ", got);
      case At::entry: fail("tensor '", printable(tensor_), "': expected an object with dtype, shape and data_offsets, got ", got);
      case At::metadata_entry: fail("__metadata__: expected an object of strings, got ", got);
      case At::metadata:
      case At::metadata_value: fail("__metadata__: '", printable(metadata_key_, 80), "': expected a string, got ", got);
      case At::dtype: fail("tensor '", printable(tensor_), "': dtype: expected a string, got ", got);
      case At::shape:
      case At::shape_items:
        fail("tensor '", printable(tensor_), "': shape: expected an array of at most ", Shape::kMaxRank, " non-negative integers, got ",
             got);
      case At::tensor:
      case At::offsets:
      case At::offset_items:
        fail("tensor '", printable(tensor_), "': data_offsets: expected two non-negative integers [begin, end], got ", got);
    }
    return false;
  }

 private:
  enum class At { start, top, entry, tensor, dtype, shape, shape_items, offsets, offset_items, metadata_entry, metadata, metadata_value };
  static constexpr std::array<std::string_view, 3> kFields{"dtype", "shape", "data_offsets"};

  bool top_key(const std::string& name) {
    if (name == "__metadata__") {
      if (std::exchange(has_metadata_, true)) fail("header: '__metadata__' is there twice");
      at_ = At::metadata_entry;
      return true;
    }
    if (name.size() > kMaxTensorName) {
      fail("tensor '", printable(name, 80), "': name of ", name.size(), " bytes, expected at most ", kMaxTensorName);
    }
    if (header_.tensors.size() == kMaxTensors) fail("header: more than ", kMaxTensors, " tensors");
    if (!header_.tensors.try_emplace(name).second) fail("tensor '", printable(name), "' is there twice");
    tensor_ = name;
    seen_ = 0;
    at_ = At::entry;
    return true;
  }

  bool field_key(const std::string& name) {
    const auto found = std::find(kFields.begin(), kFields.end(), name);
    if (found == kFields.end()) {
      fail("tensor '", printable(tensor_), "': unknown field '", printable(name, 80), "', expected dtype, shape and data_offsets");
    }
    const auto i = static_cast<unsigned>(found - kFields.begin());
    if ((seen_ >> i & 1U) != 0) fail("tensor '", printable(tensor_), "': ", name, ": is there twice");
    seen_ |= 1U << i;
    numbers_.clear();
    at_ = std::array{At::dtype, At::shape, At::offsets}[i];
    return true;
  }

  SafetensorsEntry& entry() { return header_.tensors.find(tensor_)->second; }
  std::string_view field() const { return at_ == At::shape_items ? "shape" : "data_offsets"; }

  SafetensorsHeader& header_;
  At at_ = At::start;
  std::string tensor_, metadata_key_;
  unsigned seen_ = 0;  // one bit for each of kFields
  bool has_metadata_ = false;
  std::vector<std::uint64_t> numbers_;
};

void check_range(const std::string& name, const SafetensorsEntry& e, std::uint64_t data_bytes, const std::string& file) {
  const auto where = [&] { return concat_text(file, ": tensor '", printable(name), "': data_offsets: "); };
  if (e.begin > e.end) throw WeightsError(concat_text(where(), "begin ", e.begin, " is past end ", e.end));
  if (e.end > data_bytes)
    throw WeightsError(
        concat_text(where(), "end ", e.end, " is past the data of ", data_bytes, " bytes: the file is cut off, or its header is wrong"));
  const auto elements = static_cast<std::uint64_t>(e.shape.elements());
  std::uint64_t needed = 0;
  const bool overflow = __builtin_mul_overflow(elements, safetensors_dtype_bytes(e.dtype), &needed);
  if (overflow || needed != e.end - e.begin) {
    const std::string expected = overflow ? "more than 2^64" : std::to_string(needed);
    throw WeightsError(concat_text(where(), "range of ", e.end - e.begin, " bytes, expected ", expected, " for ", e.dtype, ' ', e.shape));
  }
}

// In order of begin, each tensor must start where the one before it ended, and the last must end with the data.
void check_tiling(const SafetensorsHeader& header, std::uint64_t data_bytes, const std::string& file) {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> order;
  order.reserve(header.tensors.size());
  for (const auto& item : header.tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t reached = 0;
  for (const auto* item : order) {
    const auto& [name, e] = *item;
    check<WeightsError>(e.begin == reached, file, ": tensor '", printable(name), "': data_offsets: begins at ", e.begin, ", expected ",
                        reached, e.begin < reached ? ": it overlaps another tensor" : ": the bytes between belong to no tensor");
    reached = e.end;
  }
  check<WeightsError>(reached == data_bytes, file, ": ", data_bytes - reached, " bytes behind the last tensor belong to no tensor");
}

class IndexEvents final : public Events {
 public:
  IndexEvents(const std::string& file, std::map<std::string, std::string>& shards) : Events(file), shards_(shards) {}

  bool start_object(std::size_t) override {
    if (skipped_ > 0) return open_skipped();
    if (depth_ == 0 || (depth_ == 1 && in_map_)) {
      ++depth_;
      return true;
    }
    return depth_ == 2 ? scalar("an object") : open_skipped();
  }
  bool end_object() override {
    if (skipped_ > 0) {
      --skipped_;
    } else {
      --depth_;
      in_map_ = false;
    }
    return true;
  }
  bool start_array(std::size_t) override { return skipped_ == 0 && (in_map_ || depth_ == 0) ? scalar("an array") : open_skipped(); }
  bool end_array() override { return --skipped_, true; }

  bool key(string_t& name) override {
    if (skipped_ > 0) return true;
    if (depth_ == 1) {
      if (name == "weight_map") {
        if (std::exchange(has_map_, true)) fail("index: 'weight_map' is there twice");
        in_map_ = true;
      }
      return true;
    }
    if (name.size() > kMaxTensorName) {
      fail("weight_map: tensor '", printable(name, 80), "': name of ", name.size(), " bytes, expected at most ", kMaxTensorName);
    }
    if (shards_.size() == kMaxTensors) fail("weight_map: more than ", kMaxTensors, " tensors");
    if (!shards_.try_emplace(name).second) fail("weight_map: tensor '", printable(name), "' is there twice");
    tensor_ = name;
    return true;
  }

  bool has_map() const { return has_map_; }

 protected:
  bool text_value(const std::string& text) override {
    if (skipped_ > 0 || depth_ != 2) return Events::text_value(text);
    const bool plain =
        !text.empty() && text != "." && text != ".." && text.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    if (!plain || text.size() > 255) {
      fail("weight_map: tensor '", printable(tensor_), "': expected the plain name of a file in the same folder, got '",
           printable(text, 120), "'");
    }
    shards_[tensor_] = text;
    return true;
  }

  bool scalar(const std::string& got) override {
    if (skipped_ > 0 || (depth_ == 1 && !in_map_)) return true;  // a member that we do not read
    if (depth_ == 1) fail("weight_map: expected an object of file names, got ", got);
    fail("weight_map: tensor '", printable(tensor_), "': expected a file name, got ", got);
  }

 private:
  bool open_skipped() {
    constexpr int kMaxDepth = 32;
    if (++skipped_ > kMaxDepth) fail("index: nested deeper than ", kMaxDepth, " levels");
    return true;
  }

  std::map<std::string, std::string>& shards_;
  std::string tensor_;
  int depth_ = 0;    // 1: in the index, 2: in the weight_map
  int skipped_ = 0;  // open objects and arrays of a member that we do not read
  bool in_map_ = false, has_map_ = false;
};

}  // namespace

std::size_t safetensors_dtype_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kDTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& file) {
  SafetensorsHeader header;
  HeaderEvents events(file, header);
  parse(json, events, file, "header");
  for (const auto& [name, entry] : header.tensors) check_range(name, entry, data_bytes, file);
  check_tiling(header, data_bytes, file);
  return header;
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view json, const std::string& file) {
  std::map<std::string, std::string> shards;
  IndexEvents events(file, shards);
  parse(json, events, file, "index");
  check<WeightsError>(events.has_map(), file, ": index: 'weight_map' is missing");
  check<WeightsError>(!shards.empty(), file, ": weight_map: expected at least one tensor");
  return shards;
}

}  // namespace frieze

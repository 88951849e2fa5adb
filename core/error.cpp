#include <frieze/core/error.h>

#include <array>
#include <cstdint>
#include <typeinfo>

namespace frieze {
namespace {

// Length of the well-formed UTF-8 sequence at the front of `text`, or 0; its code point goes to `code`.
std::size_t utf8_sequence(std::string_view text, std::uint32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t first = byte(0);
  const std::size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  code = length == 1 ? first : first & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < kLeast[length] || code > 0x10FFFF || surrogate ? 0 : length;
}

// Control characters, line and paragraph separators, marks that turn the direction of writing, and what has no width: names that look the
// same must be the same.
bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD || code == 0x061C || code == 0x180E ||
         (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF ||
         (code >= 0xFFF9 && code <= 0xFFFB) || (code >= 0xE0000 && code <= 0xE007F);
}

}  // namespace

TextUnit text_unit(std::string_view text) {
  TextUnit unit;
  const std::size_t length = utf8_sequence(text, unit.code);
  unit.valid = length > 0;
  unit.bytes = unit.valid ? length : 1;
  unit.control = unit.valid && is_control(unit.code);
  return unit;
}

std::string printable(std::string_view text, std::size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const TextUnit unit = text_unit(text);
    std::string next;
    if (unit.valid && !unit.control) {
      next = text.substr(0, unit.bytes);
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      for (const char c : text.substr(0, unit.bytes)) {
        next += {'\\', 'x', kDigits[static_cast<unsigned char>(c) >> 4], kDigits[static_cast<unsigned char>(c) & 15]};
      }
    }
    if (out.size() + next.size() > max_bytes) return out + "...";
    out += next;
    text.remove_prefix(unit.bytes);
  }
  return out;
}

namespace {

// Does nothing for a class derived from E, whose constructor nobody here knows.
template <class E>
void throw_same(const Error& e, const std::string& text) {
  if (typeid(e) == typeid(E)) throw E(text);
}

}  // namespace

void rethrow_with(const std::string& before, const std::string& behind) {
  try {
    throw;
  } catch (const Error& e) {
    const std::string text = before + e.what() + behind;
    throw_same<ShapeError>(e, text);
    throw_same<DTypeError>(e, text);
    throw_same<OptionError>(e, text);
    throw_same<WeightsError>(e, text);
    throw_same<MemoryError>(e, text);
    throw_same<IoError>(e, text);
    throw_same<CaptureError>(e, text);
    throw_same<Error>(e, text);
    if (const auto* cuda = dynamic_cast<const CudaError*>(&e); cuda != nullptr && typeid(e) == typeid(CudaError))
      throw CudaError(text, cuda->code());
    throw;
  }
}

}  // namespace frieze

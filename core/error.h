#pragma once
/// Typed errors. Every message is one line and says where (module path or file), what was expected, what was got.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include <frieze/core/api.h>

namespace frieze FRIEZE_API {

/// Base of every exception that Frieze throws.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A shape that a layer, a parameter or a tensor refuses.
class ShapeError : public Error {
  using Error::Error;
};
/// A data type that a layer or a file refuses, or two types that must agree and do not.
class DTypeError : public Error {
  using Error::Error;
};
/// An option with an impossible value, an unknown name of a model, an input or an output.
class OptionError : public Error {
  using Error::Error;
};
/// A weights file that breaks its format, or does not fit the model.
class WeightsError : public Error {
  using Error::Error;
};
/// More host memory asked for than this machine has, or more of a device's than CompileOptions::max_memory allows.
class MemoryError : public Error {
  using Error::Error;
};
/// A file that cannot be read or written.
class IoError : public Error {
  using Error::Error;
};
/// A CUDA, cuBLAS or cuDNN call that failed, or CUDA asked for where there is none.
class CudaError : public Error {
 public:
  /// `code`: the cudaError_t of the call that failed, 0 if there is none. A plain int, as this header needs no CUDA.
  explicit CudaError(const std::string& text, int code = 0) : Error(text), code_(code) {}
  int code() const noexcept { return code_; }
  /// A call failed for want of device memory.
  bool out_of_memory() const noexcept { return code_ == 2; }  // cudaErrorMemoryAllocation

 private:
  int code_;
};
/// A capture that failed, or a captured graph that breaks the rules.
class CaptureError : public Error {
  using Error::Error;
};

/// What stands at the front of a text that is not empty.
struct TextUnit {
  std::uint32_t code = 0;  ///< the code point, if valid
  std::size_t bytes = 1;
  bool valid = false;    ///< well-formed UTF-8
  bool control = false;  ///< a control character, a separator of lines or paragraphs, or a mark that nobody sees
};
TextUnit text_unit(std::string_view text);

/// Text from outside (a file's name, a key of a checkpoint) made fit for one line of a message: control characters, marks
/// that nobody sees and bytes that are not UTF-8 become \xNN; what is past `max_bytes` becomes "...".
std::string printable(std::string_view text, std::size_t max_bytes = 400);

/// For catch blocks: rethrows the current exception with `before` and `behind` around its text, keeping its type. Exceptions of other
/// types than Frieze's are rethrown unchanged.
[[noreturn]] void rethrow_with(const std::string& before, const std::string& behind);

/// All parts streamed into one string.
template <class... Parts>
std::string concat_text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws E with the concatenated parts unless `ok`. The parts are formatted only on failure.
template <class E, class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) throw E(concat_text(parts...));
}

}  // namespace FRIEZE_API

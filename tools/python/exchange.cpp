// The short way for tensors of libraries that offer DLPack's table of C functions, as PyTorch does: no Python is called between the caller
// and the kernel, and the result is made by the library's own allocator.
#include <algorithm>
#include <array>
#include <optional>

#include <frieze/core/error.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "tools/python/norm.h"

namespace frieze::python {
namespace {

// DLPack 1.3, "C exchange API". Names and layout are the standard's.
struct DLTensor {
  void* data;
  struct {
    std::int32_t type, id;
  } device;
  std::int32_t ndim;
  nb::dlpack::dtype dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
struct DLManagedTensor {
  std::uint32_t major, minor;
  void* manager;
  void (*deleter)(DLManagedTensor* self);
  std::uint64_t flags;
  DLTensor tensor;
};
struct ExchangeTable {
  std::uint32_t major, minor;
  ExchangeTable* older;
  int (*allocate)(DLTensor* prototype, DLManagedTensor** out, void* context, void (*set_error)(void*, const char*, const char*));
  int (*managed_from_object)(void* object, DLManagedTensor** out);
  int (*object_from_managed)(DLManagedTensor* tensor, void** out_object);
  int (*tensor_from_object)(void* object, DLTensor* out);
  int (*current_stream)(std::int32_t device_type, std::int32_t device_id, void** out_stream);
};
static_assert(sizeof(nb::dlpack::dtype) == 4 && sizeof(DLTensor) == 48);

// The table of a type, or nullptr. It belongs to the type, which keeps it for the life of the process.
const ExchangeTable* table_of(nb::handle x) {
  static nb::handle known_type;
  static const ExchangeTable* known = nullptr;
  const nb::handle type = x.type();
  if (known != nullptr && type.is(known_type)) return known;
  const nb::object capsule = nb::getattr(type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  auto* table = static_cast<const ExchangeTable*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (table != nullptr && table->major != 1) table = table->older;
  if (table == nullptr || table->tensor_from_object == nullptr) return nullptr;
  if (known == nullptr) {
    known = table;
    known_type = type.inc_ref();  // the first type that comes; it must not be replaced by another at its address
  }
  return table;
}

Placed view_of_object(const ExchangeTable& table, nb::handle x, const char* what) {
  DLTensor t{};
  if (table.tensor_from_object(x.ptr(), &t) != 0) throw nb::python_error();
  check<ShapeError>(t.ndim >= 0 && t.ndim <= Shape::kMaxRank, what, ": expected at most ", Shape::kMaxRank, " axes, got ", t.ndim);
  const Shape shape(std::vector<std::int64_t>(t.shape, t.shape + t.ndim));
  const DType dtype = dtype_of(t.dtype, what);
  Strides strides = contiguous_strides(shape, Format::nchw);
  if (t.strides != nullptr) std::copy_n(t.strides, t.ndim, strides.begin());
  return {{static_cast<std::byte*>(t.data) + t.byte_offset, shape, dtype, strides}, t.device.type, t.device.id};
}

void set_error(void*, const char* kind, const char* message) {
  const nb::gil_scoped_acquire gil;
  PyErr_SetString(std::string_view(kind) == "MemoryError" ? PyExc_MemoryError : PyExc_RuntimeError, message);
}

// Fresh memory for a result like x; nhwc if x is. Owned until it is released to Python.
class Result {
 public:
  Result(const ExchangeTable& table, const Placed& x) : table_(table) {
    const Shape& s = x.view.shape;
    last_ = !x.view.is_contiguous(Format::nchw) && x.view.is_contiguous(Format::nhwc);
    std::array<std::int64_t, 4> shape = {s[0], s[1], s[2], s[3]};
    if (last_) shape = {s[0], s[2], s[3], s[1]};  // the allocator knows no strides
    const DType t = x.view.dtype;
    const auto code = t == DType::bf16 ? nb::dlpack::dtype_code::Bfloat : nb::dlpack::dtype_code::Float;
    DLTensor like{};
    like.device.type = x.type, like.device.id = x.id;
    like.ndim = 4;
    like.dtype = {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(8 * size_of(t)), 1};
    like.shape = shape.data();
    if (table.allocate(&like, &managed_, nullptr, set_error) != 0 || managed_ == nullptr) throw nb::python_error();
    if (!last_) return;
    const Strides strides = contiguous_strides(s, Format::nhwc);
    for (int axis = 0; axis < 4; ++axis) {
      managed_->tensor.shape[axis] = s[axis];
      managed_->tensor.strides[axis] = strides[static_cast<std::size_t>(axis)];
    }
  }
  Result(const Result&) = delete;
  Result& operator=(const Result&) = delete;
  ~Result() {
    if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
  }

  Placed placed(const Placed& x) const {
    const DLTensor& t = managed_->tensor;
    const TensorSpec spec{x.view.shape, x.view.dtype, last_ ? Format::nhwc : Format::nchw};
    return {{static_cast<std::byte*>(t.data) + t.byte_offset, spec}, x.type, x.id};
  }
  nb::object release() {
    void* object = nullptr;
    const int failed = table_.object_from_managed(std::exchange(managed_, nullptr), &object);
    if (failed != 0) throw nb::python_error();
    return nb::steal(static_cast<PyObject*>(object));
  }

 private:
  const ExchangeTable& table_;
  DLManagedTensor* managed_ = nullptr;
  bool last_ = false;
};

// None if the type of x has no table: then the long way. The caller makes sure that x and the others are plain tensors.
nb::object rms_norm2d_exchanged(nb::handle x, nb::handle weight, nb::handle bias, std::optional<double> eps, const std::string& activation,
                                const std::string& eps_mode, const std::string& rounding) {
  const ExchangeTable* table = table_of(x);
  if (table == nullptr) return nb::none();
  NormTensors t;
  t.x = view_of_object(*table, x, "x");
  check<ShapeError>(t.x.view.shape.rank() == 4, "x: expected [N,C,H,W], got ", t.x.view.shape);
  if (!weight.is_none()) t.weight = view_of_object(*table, weight, "weight");
  if (!bias.is_none()) t.bias = view_of_object(*table, bias, "bias");
  const RMSNorm2dCall call = norm_call(eps, "none", activation, eps_mode, rounding);
  void* stream = nullptr;
  if (t.x.type != nb::device::cpu::value && table->current_stream(t.x.type, t.x.id, &stream) != 0) throw nb::python_error();
  Result result(*table, t.x);
  t.y = result.placed(t.x);
  run_norm(t, call, reinterpret_cast<std::uintptr_t>(stream));
  return result.release();
}

}  // namespace

void bind_exchange(nb::module_& m) {
  m.def("rms_norm2d_exchanged", &rms_norm2d_exchanged, nb::arg("x"), nb::arg("weight").none(), nb::arg("bias").none(),
        nb::arg("eps").none(), nb::arg("activation"), nb::arg("eps_mode"), nb::arg("rounding"),
        "frieze.rms_norm2d of plain tensors by DLPack's C exchange table; None if their type has none.");
}

}  // namespace frieze::python

#pragma once
/// What the files of the binding share: views of arrays, and the names of types in Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <functional>
#include <string>

#include <frieze/core/tensor.h>
#include <frieze/graph/options.h>

namespace frieze::python {

namespace nb = nanobind;

/// Any array that speaks DLPack or the buffer protocol, on the CPU or CUDA, of any type and strides; and one that may be written to.
using Array = nb::ndarray<nb::ro>;
using Output = nb::ndarray<>;

/// The array's memory. Throws DTypeError unless it is float32, float16 or bfloat16, ShapeError past rank 8; `what` names it.
TensorView view_of(const Array& array, const std::string& what);
TensorView view_of(const Output& array, const std::string& what);
/// The same of a type as DLPack has it. Throws DTypeError.
DType dtype_of(const nb::dlpack::dtype& type, const std::string& what);
/// A copy of host memory in f32.
HostTensor host_copy(const TensorView& view);
/// Writes `from`, of the same shape, into host memory, each value rounded once. Throws ShapeError.
void write_host(const HostTensor& from, const TensorView& to, const std::string& what);

Shape shape_of(const nb::tuple& extents);
nb::tuple tuple_of(const Shape& shape);

/// "cpu" or "cuda:N" as a device with its index.
struct NamedDevice {
  Device device;
  int index = 0;
  std::string name;  ///< "cpu" or "cuda:0"
};
NamedDevice parse_device(const std::string& text);
/// Throws OptionError unless an array of this DLPack device lies on `device`; `what` names it.
void check_device(int type, int id, const std::string& what, const NamedDevice& device);

/// Warnings of a session become Python's. To be called without the GIL.
void warn(std::string_view text);

/// Throws Error in a child process: CUDA and threads do not live through fork().
class ProcessCheck {
 public:
  ProcessCheck();
  void check(const char* what) const;

 private:
  int pid_;
};

void bind_errors(nb::module_& m);
void bind_norm(nb::module_& m);
void bind_graph(nb::module_& m);
void bind_models(nb::module_& m);

}  // namespace frieze::python

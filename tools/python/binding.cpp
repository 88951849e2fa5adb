// The module frieze._frieze: what frieze/*.py stands on. Users call that, not this.
#include "tools/python/binding.h"

#include <unistd.h>

#include <frieze/core/error.h>
#include <frieze/core/parallel.h>
#include <frieze/core/version.h>
#include <frieze/graph/finite.h>
#include <frieze/graph/session.h>

#include <nanobind/stl/string.h>

namespace frieze::python {
namespace {

template <class A>
TensorView any_view(const A& array, const std::string& what) {
  check<ShapeError>(array.ndim() <= static_cast<std::size_t>(Shape::kMaxRank), what, ": expected at most ", Shape::kMaxRank, " axes, got ",
                    array.ndim());
  std::vector<std::int64_t> extents;
  Strides strides{};
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    extents.push_back(static_cast<std::int64_t>(array.shape(i)));
    strides[i] = array.stride(i);
  }
  return {const_cast<void*>(static_cast<const void*>(array.data())), Shape(extents), dtype_of(array.dtype(), what), strides};
}

}  // namespace

DType dtype_of(const nb::dlpack::dtype& t, const std::string& what) {
  const auto code = static_cast<nb::dlpack::dtype_code>(t.code);
  if (t.lanes == 1 && code == nb::dlpack::dtype_code::Float && t.bits == 32) return DType::f32;
  if (t.lanes == 1 && code == nb::dlpack::dtype_code::Float && t.bits == 16) return DType::f16;
  if (t.lanes == 1 && code == nb::dlpack::dtype_code::Bfloat && t.bits == 16) return DType::bf16;
  const char* kind = code == nb::dlpack::dtype_code::Int       ? "int"
                     : code == nb::dlpack::dtype_code::UInt    ? "uint"
                     : code == nb::dlpack::dtype_code::Float   ? "float"
                     : code == nb::dlpack::dtype_code::Bool    ? "bool"
                     : code == nb::dlpack::dtype_code::Complex ? "complex"
                                                               : "a type of ";
  throw DTypeError(concat_text(what, ": expected float32, float16 or bfloat16, got ", kind, static_cast<int>(t.bits)));
}

TensorView view_of(const Array& array, const std::string& what) { return any_view(array, what); }
TensorView view_of(const Output& array, const std::string& what) { return any_view(array, what); }

HostTensor host_copy(const TensorView& view) { return HostTensor({view.shape, DType::f32}, to_floats(view)); }

void write_host(const HostTensor& from, const TensorView& to, const std::string& what) {
  check<ShapeError>(from.spec().shape == to.shape, what, ": expected shape ", from.spec().shape, ", got ", to.shape);
  from_floats(from.floats(), to);
}

Shape shape_of(const nb::tuple& extents) {
  std::vector<std::int64_t> values;
  for (const nb::handle e : extents) values.push_back(nb::cast<std::int64_t>(e));
  return Shape(values);
}

nb::tuple tuple_of(const Shape& shape) {
  nb::list values;
  for (const std::int64_t e : shape.extents()) values.append(e);
  return nb::tuple(values);
}

NamedDevice parse_device(const std::string& text) {
  const std::size_t colon = text.find(':');
  Device device = Device::parse(text);
  if (!device.is_cuda()) return {device, 0, "cpu"};
  const int index = colon == std::string::npos ? 0 : std::stoi(text.substr(colon + 1));
  return {device, index, "cuda:" + std::to_string(index)};
}

void check_device(int type, int id, const std::string& what, const NamedDevice& device) {
  const bool cuda = type == nb::device::cuda::value || type == nb::device::cuda_managed::value;
  const bool host = type == nb::device::cpu::value || type == nb::device::cuda_host::value;
  const bool fits = device.device.is_cuda() ? cuda && id == device.index : host;
  check<OptionError>(fits, what, ": expected an array on ", device.name, ", got one on ",
                     cuda   ? concat_text("cuda:", id)
                     : host ? std::string("cpu")
                            : concat_text("a device of DLPack's type ", type));
}

void warn(std::string_view text) {
  const nb::gil_scoped_acquire gil;
  const std::string line(text);
  if (PyErr_WarnEx(PyExc_RuntimeWarning, line.c_str(), 1) != 0) PyErr_WriteUnraisable(nullptr);  // warnings that are errors: not from here
}

ProcessCheck::ProcessCheck() : pid_(::getpid()) {}
void ProcessCheck::check(const char* what) const {
  frieze::check<Error>(pid_ == ::getpid(), what,
                       " was made before fork(), and cannot be used in the child process: make another one there");
}

void bind_errors(nb::module_& m) {
  // Held for the life of the process: exceptions may be raised while the module goes.
  struct Types {
    nb::handle error, shape, dtype, option, weights, memory, io, cuda, capture, non_finite;
  };
  static Types types;
  const auto make = [&m](const char* name, const nb::tuple& bases, const char* about) {
    const std::string full = std::string("frieze.") + name;
    nb::object type = nb::steal(PyErr_NewExceptionWithDoc(full.c_str(), about, bases.ptr(), nullptr));
    if (!type.is_valid()) throw nb::python_error();
    m.attr(name) = type;
    return type.release();
  };
  const nb::handle value_error = PyExc_ValueError, type_error = PyExc_TypeError, memory_error = PyExc_MemoryError, os_error = PyExc_OSError;
  types.error = make("Error", nb::make_tuple(nb::handle(PyExc_RuntimeError)), "Base of every exception that Frieze raises.");
  types.shape = make("ShapeError", nb::make_tuple(types.error, value_error), "A shape that a layer, a model or an array refuses.");
  types.dtype = make("DTypeError", nb::make_tuple(types.error, type_error), "A type of values that is refused, or two that differ.");
  types.option = make("OptionError", nb::make_tuple(types.error, value_error), "An option with an impossible value, or an unknown name.");
  types.weights = make("WeightsError", nb::make_tuple(types.error, value_error), "A file of weights that is damaged or does not fit.");
  types.memory = make("OutOfMemory", nb::make_tuple(types.error, memory_error), "More memory than there is, or than max_memory allows.");
  types.io = make("IoError", nb::make_tuple(types.error, os_error), "A file that cannot be read or written.");
  types.cuda = make("CudaError", nb::make_tuple(types.error), "A CUDA call that failed, or CUDA asked for where there is none.");
  types.capture = make("CaptureError", nb::make_tuple(types.error), "A capture that failed, or a stream that is being captured.");
  types.non_finite = make("NonFiniteError", nb::make_tuple(types.error, value_error), "NaN or Inf that a model made of finite inputs.");
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    const auto raise = [](nb::handle type, const std::exception& e) { PyErr_SetString(type.ptr(), e.what()); };
    try {
      std::rethrow_exception(p);
    } catch (const NonFiniteError& e) {
      raise(types.non_finite, e);
    } catch (const ShapeError& e) {
      raise(types.shape, e);
    } catch (const DTypeError& e) {
      raise(types.dtype, e);
    } catch (const OptionError& e) {
      raise(types.option, e);
    } catch (const WeightsError& e) {
      raise(types.weights, e);
    } catch (const MemoryError& e) {
      raise(types.memory, e);
    } catch (const IoError& e) {
      raise(types.io, e);
    } catch (const CudaError& e) {
      raise(e.out_of_memory() ? types.memory : types.cuda, e);
    } catch (const CaptureError& e) {
      raise(types.capture, e);
    } catch (const Error& e) {
      raise(types.error, e);
    }
  });
}

namespace {

nb::dict build_info() {
  nb::dict info;
  info["version"] = std::string(version());
  info["commit"] = std::string(commit());
  info["cuda"] = std::string(cuda_toolkit_version());
  info["cublas"] = std::string(cublas_version());
  info["cudnn"] = std::string(cudnn_version());
  return info;
}

}  // namespace

NB_MODULE(_frieze, m) {
  m.doc() = "The native part of frieze; use the package frieze.";
  bind_errors(m);
  m.def("build_info", &build_info, "What this build was made with; empty texts for what it lacks.");
  m.def(
      "cuda_devices",
      [] {
        nb::list names;
        for (int i = 0; i < Device::cuda_count(); ++i) names.append(Device::cuda(i).name());
        return names;
      },
      "The GPUs that this build and machine can use.");
  bind_norm(m);
  bind_graph(m);
  bind_models(m);
}

}  // namespace frieze::python

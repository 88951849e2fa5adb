#include <frieze/graph/port.h>

#include <cmath>
#include <span>
#include <string>

#include <frieze/core/error.h>
#include <frieze/graph/executor.h>

namespace frieze {
namespace {

std::string type_of(const HostValues& values) {
  if (values.interleaved) return "pixels";
  constexpr const char* kNames[] = {"u8", "f16", "bf16", "f32", "i32", "i64"};
  return kNames[static_cast<std::size_t>(values.type)];
}

// Whether values of the array may go into the port, or come `out` of it.
void check_kind(const Port& port, const HostValues& values, bool out) {
  const DType dtype = port.spec().dtype;
  const bool integers = values.type == HostType::i32 || values.type == HostType::i64;
  bool fits = !integers;
  if (is_integer(dtype)) {
    fits = out ? values.type == HostType::i64 || (values.type == HostType::i32 && dtype == DType::i32)
               : integers || (values.type == HostType::u8 && !values.interleaved);
  }
  check<DTypeError>(fits, "port '", port.name(), "': expected ", dtype, ", got ", type_of(values));
}

// Integers are never changed on their way in.
void check_range(const Port& port, const HostValues& values) {
  if (values.type != HostType::i64 || port.spec().dtype != DType::i32) return;
  for (const std::int64_t v : std::span(static_cast<const std::int64_t*>(values.data), values.count)) {
    check<DTypeError>(wrap_integer(DType::i32, v) == v, "port '", port.name(), "': i32 cannot hold ", v);
  }
}

void check_known_range(const Port& port, const HostValues& values) {
  check<DTypeError>(values.type != HostType::i64 || port.spec().dtype != DType::i32, "port '", port.name(),
                    "': expected i32, got i64, of which nobody could tell whether it fits: convert it before, or take copy_from()");
}

void check_pixels(const Port& port, const HostValues& values) {
  check<ShapeError>(!values.interleaved || port.spec().shape.rank() == 4, "port '", port.name(),
                    "': pixels need a port of shape [N,C,H,W], got ", port.spec().shape);
  check<OptionError>(std::isfinite(values.scale) && values.scale != 0 && std::isfinite(values.offset), "port '", port.name(),
                     "': a byte cannot mean k * ", values.scale, " + ", values.offset,
                     ": expected a finite scale other than 0, and a finite offset");
}

// A tensor's elements as an array.
HostValues values_of(const HostTensor& tensor) {
  HostValues values;
  switch (tensor.spec().dtype) {
    case DType::f32: values.type = HostType::f32; break;
    case DType::f16: values.type = HostType::f16; break;
    case DType::bf16: values.type = HostType::bf16; break;
    case DType::i32: values.type = HostType::i32; break;
    case DType::i64: values.type = HostType::i64; break;
  }
  values.data = tensor.data();
  values.count = static_cast<std::size_t>(tensor.spec().shape.elements());
  values.interleaved = is_packed(tensor.spec());
  return values;
}

void write(Executor& executor, const PortPart& part, const HostValues& from) {
  if (executor.on_host()) {
    write_values(from, static_cast<std::byte*>(executor.port_view(part.value).data) + part.offset, part.spec);
  } else if (same_bytes(from, part.spec)) {
    executor.write_port(part, from.data);
  } else {
    void* const staging = executor.staging(part.bytes());
    write_values(from, staging, part.spec);
    executor.write_port(part, staging);
  }
}

void read(Executor& executor, const PortPart& part, const HostBuffer& to) {
  if (executor.on_host()) {
    read_values(static_cast<const std::byte*>(executor.port_view(part.value).data) + part.offset, part.spec, to);
  } else if (same_bytes(read_only(to), part.spec)) {
    executor.read_port(part, to.data);
  } else {
    void* const staging = executor.staging(part.bytes());
    executor.read_port(part, staging);
    read_values(staging, part.spec, to);
  }
}

}  // namespace

Executor& Port::executor() const {
  check<OptionError>(executor_ != nullptr, "this port was moved from");
  executor_->plan().check_alive();
  return *executor_;
}

const std::string& Port::name() const { return executor(), port_->name; }
const TensorSpec& Port::spec() const { return executor().plan().spec(port_->value); }
TensorView Port::view() const { return executor().port_view(port_->value); }

PortPart Port::whole(const HostValues& values, bool out) const {
  check_kind(*this, values, out);
  check<ShapeError>(static_cast<std::int64_t>(values.count) == spec().shape.elements(), "port '", name(), "': expected ",
                    spec().shape.elements(), " values for ", spec().shape, ", got ", values.count);
  check_pixels(*this, values);
  return {port_->value, 0, spec()};
}

PortPart Port::part(const HostValues& values, std::int64_t image, bool out) const {
  check_kind(*this, values, out);
  const Shape& shape = spec().shape;
  check<ShapeError>(shape.rank() >= 1, "port '", name(), "': a port of shape ", shape, " has no images; copy without one");
  const std::int64_t images = shape[0], each = images > 0 ? shape.elements() / images : 0, count = static_cast<std::int64_t>(values.count);
  check<ShapeError>(each > 0 && count % each == 0, "port '", name(), "': expected whole images of ", each, " values each for ", shape,
                    ", got ", count, " values");
  const std::int64_t wanted = count / each;
  check<ShapeError>(image >= 0 && image <= images && wanted <= images - image, "port '", name(), "': expected images within 0 to ",
                    images - 1, " for ", shape, ", got ", wanted, " from ", image, " on");
  check_pixels(*this, values);
  PortPart some{port_->value, 0, spec()};
  some.spec.shape = shape.with(0, wanted);
  some.offset = image * each * static_cast<std::int64_t>(size_of(some.spec.dtype));
  return some;
}

void Port::copy_from(const HostValues& values) {
  const PortPart all = whole(values, false);
  check_range(*this, values);
  write(executor(), all, values);
}

void Port::copy_from(const HostValues& values, std::int64_t image) {
  const PortPart some = part(values, image, false);
  check_range(*this, values);
  write(executor(), some, values);
}

void Port::copy_from(const HostTensor& tensor) {
  check<ShapeError>(tensor.spec().shape == spec().shape, "port '", name(), "': expected shape ", spec().shape, ", got ",
                    tensor.spec().shape);
  const PortPart all{port_->value, 0, spec()};
  const HostValues values = values_of(tensor);
  check_kind(*this, values, false);
  check_range(*this, values);
  write(executor(), all, values);
}

void Port::copy_to(const HostBuffer& values) const { read(executor(), whole(read_only(values), true), values); }
void Port::copy_to(const HostBuffer& values, std::int64_t image) const { read(executor(), part(read_only(values), image, true), values); }
HostTensor Port::to_host() const { return executor().read_value(port_->value); }

void Port::copy_from_async(const HostValues& values, cudaStream_t stream) {
  const PortPart all = whole(values, false);
  check_known_range(*this, values);
  executor().enqueue_write(all, values, stream);
}

void Port::copy_from_async(const HostValues& values, cudaStream_t stream, std::int64_t image) {
  const PortPart some = part(values, image, false);
  check_known_range(*this, values);
  executor().enqueue_write(some, values, stream);
}

void Port::copy_to_async(const HostBuffer& values, cudaStream_t stream) const {
  executor().enqueue_read(whole(read_only(values), true), values, stream);
}

void Port::copy_to_async(const HostBuffer& values, cudaStream_t stream, std::int64_t image) const {
  executor().enqueue_read(part(read_only(values), image, true), values, stream);
}

}  // namespace frieze

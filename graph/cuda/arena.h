#pragma once
/// Device memory for intermediate values.
#include <cstdint>
#include <memory>
#include <vector>

#include <frieze/core/cuda/handles.h>
#include <frieze/graph/cuda/streams.h>
#include <frieze/graph/executor.h>

namespace frieze::cuda {

/// A block of device memory for one session, or shared by the sessions of an engine. A shared one grows without moving, so
/// that captured graphs keep their addresses: growing maps further physical memory behind one reserved range of virtual
/// addresses (CUDA's virtual memory management). Its users take turns: who runs waits, on the device, for who ran before.
class DeviceArena final : public Arena {
 public:
  /// `device` must be current whenever a member is called.
  DeviceArena(int device, bool shared) : device_(device), shared_(shared) {}
  DeviceArena(const DeviceArena&) = delete;
  DeviceArena& operator=(const DeviceArena&) = delete;
  ~DeviceArena() override;

  std::int64_t bytes() const override { return static_cast<std::int64_t>(bytes_); }
  std::byte* data() const { return shared_ ? reinterpret_cast<std::byte*>(base_) : own_.as<std::byte>(); }
  /// Grows to at least `bytes`; one that is not shared grows once. Throws CudaError; then the arena is as it was.
  void reserve(std::int64_t bytes);

  /// Before work that uses a shared arena is enqueued on `stream`: it is ordered behind the user before, and `user` is the next to wait
  /// for. The user records its last use when the work is enqueued. Nothing happens in an arena that is not shared.
  void begin_use(cudaStream_t stream, const std::shared_ptr<const LastUse>& user);
  /// Throws OptionError in a shared arena: a graph of the caller's, whose replays nobody sees here, could not take its turn.
  void check_recordable() const;

 private:
  struct Piece {
    unsigned long long handle;
    std::size_t offset, bytes;
  };
  void map_more(std::size_t bytes);

  int device_;
  bool shared_;
  std::size_t bytes_ = 0;
  DeviceBuffer own_;             // when not shared
  unsigned long long base_ = 0;  // when shared: the reserved range, and what is mapped into it
  std::size_t reserved_ = 0;
  std::vector<Piece> pieces_;
  std::shared_ptr<const LastUse> last_user_;
};

}  // namespace frieze::cuda

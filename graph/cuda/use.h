#pragma once
/// Use: the scope in which a session enqueues work, in order with what it and others have enqueued before.
#include <frieze/core/error.h>
#include <frieze/graph/cuda/arena.h>
#include <frieze/graph/cuda/streams.h>

namespace frieze::cuda {

/// While work is enqueued: ordered behind the session's last work, wherever that went, and behind the arena's. However much of it was
/// enqueued when something throws, it is waited for. CUDA itself orders the launches of one executable graph among each other: `last_graph`
/// is the one that the last work was, nullptr if it was none.
class Use {
 public:
  Use(const std::shared_ptr<LastUse>& last_use, cudaGraphExec_t& last_graph, DeviceArena& arena, cudaStream_t stream,
      cudaGraphExec_t graph = nullptr)
      : last_use_(*last_use), last_graph_(last_graph), stream_(stream), graph_(graph) {
    if (graph == nullptr || graph != last_graph_) last_use_.order(stream);
    last_graph_ = nullptr;
    arena.begin_use(stream, last_use);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (done_) return;
    try {
      last_use_.record(stream_);
    } catch (const CudaError& e) {
      log_warning(e.what());
    }
  }
  void done() {
    done_ = true;
    last_use_.record(stream_);
    last_graph_ = graph_;
  }

 private:
  LastUse& last_use_;
  cudaGraphExec_t& last_graph_;
  cudaStream_t stream_;
  cudaGraphExec_t graph_;
  bool done_ = false;
};

}  // namespace frieze::cuda

#include <frieze/graph/repeat.h>

#include <cstring>

#include <frieze/core/error.h>
#include <frieze/graph/memory_plan.h>
#include <frieze/graph/reference_step.h>

namespace frieze {
namespace {

// The body's values in host memory, placed as the memory plan says.
class BodyMemory {
 public:
  explicit BodyMemory(const Plan& body) : body_(place(body)), plan_(plan_memory(body_, {})), storages_(body_.storages.size(), nullptr) {
    arena_ = HostTensor({Shape{plan_.arena_bytes / 4 + 1}, DType::f32, Format::nchw});
    for (const auto* ports : {&body_.inputs, &body_.outputs}) {
      for (const PlanPort& port : *ports) {
        if (void*& at = storage(port.value); at == nullptr) {
          ports_.emplace_back(body_.spec(port.value));
          at = ports_.back().data();
        }
      }
    }
    for (const PlanPort& port : body_.outputs) next_.emplace_back(body_.spec(port.value));
    for (const PlanConstant& c : body_.constants) {
      ports_.push_back(constant_tensor(body_, c));
      storage(c.value) = ports_.back().data();
    }
    for (std::size_t id = 0; id < body_.values.size(); ++id) {
      const Placement* placed = plan_.of_value(static_cast<int>(id));
      if (void*& at = storage(static_cast<int>(id)); at == nullptr && placed != nullptr) {
        at = static_cast<std::byte*>(arena_.data()) + placed->offset;
      }
    }
  }
  TensorView view(int value) const { return body_.view(value, const_cast<BodyMemory*>(this)->storage(value)); }
  TensorView input(std::size_t i) const { return view(body_.inputs[i].value); }
  // What the body made last, apart from its inputs: it may give these themselves, in another order.
  TensorView next(std::size_t i) const { return next_[i].view(); }
  // `behind(i)` is called behind step i.
  void run(const std::function<void(std::size_t)>& behind) const {
    for (std::size_t i = 0; i < body_.steps.size(); ++i) {
      const Step& step = body_.steps[i];
      std::vector<TensorView> in, out;
      for (const int id : step.inputs) in.push_back(view(id));
      for (const int id : step.outputs) out.push_back(view(id));
      (void)reference_step(step, in, out, run_dtype(body_, step));
      behind(i);
    }
    if (body_.steps.empty()) behind(0);
    for (std::size_t i = 0; i < next_.size(); ++i) convert(view(body_.outputs[i].value), next(i));
  }

 private:
  void*& storage(int value) { return storages_[static_cast<std::size_t>(body_.values[static_cast<std::size_t>(value)].storage)]; }

  Plan body_;
  MemoryPlan plan_;
  HostTensor arena_;
  std::vector<HostTensor> ports_, next_;
  std::vector<void*> storages_;
};

}  // namespace

Repeat::Repeat(Plan body, int iterations, std::size_t carried, std::size_t given, std::vector<LoopTable> tables)
    : body_(std::move(body)), iterations_(iterations), carried_(carried), given_(given), tables_(std::move(tables)) {
  check<OptionError>(body_.inputs.size() == carried_ + given_ + tables_.size(), "Repeat: its body has ", body_.inputs.size(),
                     " inputs, expected ", carried_ + given_ + tables_.size());
  check<OptionError>(body_.outputs.size() == carried_, "repeat: the body makes ", body_.outputs.size(), " values, expected ", carried_,
                     ", as many as are carried");
  for (std::size_t i = 0; i < carried_; ++i) {
    const TensorSpec &in = body_.spec(body_.inputs[i].value), &out = body_.spec(body_.outputs[i].value);
    check<OptionError>(in.shape == out.shape && in.dtype == out.dtype, "repeat: the body makes ", out, " of carried value ", i,
                       ", which is ", in);
  }
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    const LoopTable& table = tables_[i];
    const std::int64_t count = checked_mul(table.row.elements(), iterations_, "values of a table");
    check<OptionError>(static_cast<std::int64_t>(table.values.size()) == count, "repeat: table ", i, " has ", table.values.size(),
                       " values, expected ", count, ": ", iterations_, " rows of ", table.row);
    rounded_.emplace_back(TensorSpec{Shape{count}, table.dtype, Format::nchw}, table.values);
  }
}

std::shared_ptr<const Repeat> Repeat::with_body(Plan body) const {
  return std::make_shared<Repeat>(std::move(body), iterations_, carried_, given_, tables_);
}

Inferred Repeat::infer(std::span<const TensorSpec> in) const {
  check<ShapeError>(in.size() == carried_ + given_, "Repeat takes ", carried_ + given_, " inputs, got ", in.size());
  Inferred inferred;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const TensorSpec& traced = body_.spec(body_.inputs[i].value);
    check<ShapeError>(in[i].shape == traced.shape, "Repeat expects ", traced.shape, " as input ", i, ", got ", in[i].shape);
    check<DTypeError>(in[i].dtype == traced.dtype, "Repeat expects ", traced.dtype, " as input ", i, ", got ", in[i].dtype);
    if (i < carried_) inferred.out.push_back({in[i].shape, in[i].dtype, Format::nchw});
    if (i < carried_) inferred.bytes += 2 * static_cast<double>(in[i].bytes());
  }
  for (const Step& step : body_.steps) {
    inferred.flops += iterations_ * step.flops;
    inferred.bytes += iterations_ * step.bytes;
  }
  return inferred;
}

void Repeat::run(const ReferenceArgs& args, const Watch& watch) const {
  const BodyMemory memory(body_);
  const auto value = [&](int id) { return memory.view(id); };
  for (std::size_t i = 0; i < args.in.size(); ++i) convert(args.in[i], memory.input(i));
  for (int iteration = 0; iteration < iterations_; ++iteration) {
    for (std::size_t t = 0; t < rounded_.size(); ++t) {
      const TensorView row = memory.input(carried_ + given_ + t);
      const std::size_t bytes = rounded_[t].bytes() / static_cast<std::size_t>(iterations_);
      std::memcpy(row.data, static_cast<const std::byte*>(rounded_[t].data()) + static_cast<std::size_t>(iteration) * bytes, bytes);
    }
    memory.run([&](std::size_t step) {
      if (watch) watch(iteration, step, value);
    });
    for (std::size_t i = 0; i < carried_; ++i) convert(memory.next(i), memory.input(i));
  }
  for (std::size_t i = 0; i < carried_; ++i) convert(memory.next(i), args.out[i]);
}

ErrorBudget Repeat::budget(std::span<const TensorSpec>) const {
  ErrorBudget all{.roundings = 0, .terms = 0};
  for (const Step& step : body_.steps) {
    std::vector<TensorSpec> in;
    for (std::size_t i = 0; i < step.layer_inputs(); ++i) in.push_back(body_.spec(step.inputs[i]));
    const ErrorBudget one = step.layer->budget(in);
    all.roundings += one.roundings;
    all.terms += one.terms;
  }
  all.roundings *= iterations_;
  all.terms *= iterations_;
  return all;
}

std::string Repeat::describe() const {
  return concat_text(iterations_, iterations_ == 1 ? " time " : " times ", body_.steps.size(), " steps");
}

const Repeat* loop_of(const Step& step) { return dynamic_cast<const Repeat*>(step.layer.get()); }

void visit_steps(const Plan& plan, const std::function<void(const Plan&, const Step&)>& visit) {
  for (const Step& step : plan.steps) {
    visit(plan, step);
    if (const Repeat* loop = loop_of(step)) visit_steps(loop->body(), visit);
  }
}

void visit_plans(const Plan& plan, const std::function<void(const Plan&)>& visit) {
  visit(plan);
  for (const Step& step : plan.steps) {
    if (const Repeat* loop = loop_of(step)) visit_plans(loop->body(), visit);
  }
}

}  // namespace frieze

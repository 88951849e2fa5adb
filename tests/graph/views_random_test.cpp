// Random graphs of views and elementwise steps against a naive evaluation on plain vectors.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "graph/test_layers.h"
#include "support/parity.h"
#if FRIEZE_WITH_CUDA
#include "graph/device_layers.h"
#endif

#include <frieze/graph/memory_plan.h>
#include <frieze/graph/verify.h>
#include <frieze/layers/concat/concat.h>
#include <frieze/layers/permute/permute.h>
#include <frieze/layers/reshape/reshape.h>
#include <frieze/layers/slice/slice.h>
#include <frieze/layers/split/split.h>

namespace frieze {
namespace {

using test::FunctionModel;
using test::times;

// Row-major values; whole numbers that stay far below 2^24, so that every order of the same sums gives the same bits.
struct Naive {
  Shape shape;
  std::vector<float> values;
};

using Index = std::vector<std::int64_t>;

// Calls body(index) for every element in row-major order.
template <class Body>
void each(const Shape& shape, Body&& body) {
  Index index(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    body(index);
    for (int axis = shape.rank() - 1; axis >= 0 && ++index[static_cast<std::size_t>(axis)] == shape[axis]; --axis) {
      index[static_cast<std::size_t>(axis)] = 0;
    }
  }
}

float at(const Naive& x, const Index& index) {
  std::int64_t offset = 0;
  for (int axis = 0; axis < x.shape.rank(); ++axis) offset = offset * x.shape[axis] + index[static_cast<std::size_t>(axis)];
  return x.values[static_cast<std::size_t>(offset)];
}

Naive naive_slice(const Naive& x, int axis, std::int64_t begin, std::int64_t extent) {
  Naive y{x.shape.with(axis, extent), {}};
  each(y.shape, [&](Index index) {
    index[static_cast<std::size_t>(axis)] += begin;
    y.values.push_back(at(x, index));
  });
  return y;
}

Naive naive_permute(const Naive& x, const std::vector<int>& axes) {
  Index extents;
  for (const int axis : axes) extents.push_back(x.shape[axis]);
  Naive y{Shape(extents), {}};
  each(y.shape, [&](const Index& index) {
    Index from(axes.size());
    for (std::size_t k = 0; k < axes.size(); ++k) from[static_cast<std::size_t>(axes[k])] = index[k];
    y.values.push_back(at(x, from));
  });
  return y;
}

Naive naive_concat(const std::vector<Naive>& parts, int axis) {
  std::int64_t extent = 0;
  for (const Naive& part : parts) extent += part.shape[axis];
  Naive y{parts[0].shape.with(axis, extent), {}};
  each(y.shape, [&](Index index) {
    std::size_t k = 0;
    auto& along = index[static_cast<std::size_t>(axis)];
    for (; along >= parts[k].shape[axis]; ++k) along -= parts[k].shape[axis];
    y.values.push_back(at(parts[k], index));
  });
  return y;
}

Naive naive_map(const Naive& x, float (*f)(float)) {
  Naive y = x;
  for (float& v : y.values) v = f(v);
  return y;
}

struct Node {
  Value value;
  Naive naive;
};

// Grows a graph while a model is traced, and evaluates it on the side.
class Grower {
 public:
  explicit Grower(std::uint32_t seed) : rng_(seed) {}

  std::vector<Value> grow(const std::vector<Value>& inputs, const std::vector<Naive>& given, std::vector<Naive>& expected) {
    for (std::size_t i = 0; i < inputs.size(); ++i) nodes_.push_back({inputs[i], given[i]});
    const int steps = 4 + below(14);
    for (int i = 0; i < steps; ++i) step();
    std::vector<Value> outputs;
    expected.clear();
    const auto output = [&](const Node& node) {
      outputs.push_back(node.value);
      expected.push_back(node.naive);
    };
    output(nodes_.back());
    for (int i = below(4); i > 0; --i) output(any());  // inputs, views, and one value twice among them
    return outputs;
  }

 private:
  int below(int n) { return static_cast<int>(rng_() % static_cast<std::uint32_t>(n)); }
  const Node& any() { return nodes_[static_cast<std::size_t>(below(3) == 0 ? below(static_cast<int>(nodes_.size())) : recent())]; }
  int recent() {
    const int count = static_cast<int>(nodes_.size());
    return count - 1 - below(std::min(count, 4));
  }
  void add(Value v, Naive n) { nodes_.push_back({v, std::move(n)}); }

  void step() {
    const Node x = any();
    const Shape& shape = x.naive.shape;
    const int rank = shape.rank(), axis = below(rank);
    switch (below(11)) {
      case 0: return add(relu(x.value), naive_map(x.naive, [](float v) { return std::max(v, 0.0F); }));
      case 1: return add(x.value * -1.0F, naive_map(x.naive, [](float v) { return -v; }));
      case 2: return twice(x, {});
      case 3: return twice(x, rank == 4 ? test::nhwc_only() : FormatRule{});
      case 4: {  // with another of its shape, or itself
        std::vector<const Node*> same;
        for (const Node& node : nodes_) {
          if (node.naive.shape == shape) same.push_back(&node);
        }
        const Node other = *same[static_cast<std::size_t>(below(static_cast<int>(same.size())))];
        Naive sum = x.naive;
        for (std::size_t i = 0; i < sum.values.size(); ++i) sum.values[i] += other.naive.values[i];
        return small(sum) ? add(x.value + other.value, sum) : void();
      }
      case 5: {
        const std::int64_t begin = below(static_cast<int>(shape[axis])), extent = 1 + below(static_cast<int>(shape[axis] - begin));
        return add(slice(x.value, begin, begin + extent, axis), naive_slice(x.naive, axis, begin, extent));
      }
      case 6: {
        if (shape[axis] < 2) return;
        const std::int64_t first = 1 + below(static_cast<int>(shape[axis] - 1));
        const std::vector<Value> parts = split(x.value, {first, shape[axis] - first}, axis);
        add(parts[0], naive_slice(x.naive, axis, 0, first));
        return add(parts[1], naive_slice(x.naive, axis, first, shape[axis] - first));
      }
      case 7: {
        std::vector<int> axes(static_cast<std::size_t>(rank));
        std::iota(axes.begin(), axes.end(), 0);
        std::shuffle(axes.begin(), axes.end(), rng_);
        return add(permute(x.value, axes), naive_permute(x.naive, axes));
      }
      case 8: return reshaped_somehow(x);
      default: return concatenate(x, axis);
    }
  }

  static bool small(const Naive& x) {
    return std::all_of(x.values.begin(), x.values.end(), [](float v) { return std::abs(v) < 100000; });
  }

  void twice(const Node& x, const FormatRule& formats) {
    const Naive y = naive_map(x.naive, [](float v) { return 2 * v; });
    if (small(y)) add(times(x.value, {.formats = formats}), y);
  }

  void reshaped_somehow(const Node& x) {
    Index extents;
    std::int64_t left = x.naive.shape.elements();
    while (extents.size() < 4 && left > 1) {
      std::int64_t d = std::min<std::int64_t>(left, 2 + below(5));
      while (left % d != 0) ++d;
      extents.push_back(extents.size() == 3 ? left : d);
      left /= extents.back();
    }
    if (left > 1) extents.push_back(left);
    std::shuffle(extents.begin(), extents.end(), rng_);
    if (below(4) == 0) extents.push_back(1);
    if (extents.empty()) extents.push_back(1);
    add(reshape(x.value, extents), {Shape(extents), x.naive.values});
  }

  void concatenate(const Node& x, int axis) {
    std::vector<Node> fitting;
    for (const Node& node : nodes_) {
      const Shape& s = node.naive.shape;
      if (s.rank() == x.naive.shape.rank() && s.with(axis, x.naive.shape[axis]) == x.naive.shape) fitting.push_back(node);
    }
    std::vector<Node> parts{x};
    for (int i = 1 + below(2); i > 0; --i) parts.push_back(fitting[static_cast<std::size_t>(below(static_cast<int>(fitting.size())))]);
    std::shuffle(parts.begin(), parts.end(), rng_);
    std::vector<Value> values;
    std::vector<Naive> naive;
    std::int64_t elements = 0;
    for (const Node& part : parts) {
      values.push_back(part.value);
      naive.push_back(part.naive);
      elements += part.naive.shape.elements();
    }
    if (elements <= 600) add(concat(values, axis), naive_concat(naive, axis));
  }

  std::mt19937 rng_;
  std::vector<Node> nodes_;
};

class RandomGraph {
 public:
  explicit RandomGraph(std::uint32_t seed) : seed_(seed) {
    std::mt19937 rng(seed + 77);
    const auto below = [&](int n) { return static_cast<int>(rng() % static_cast<std::uint32_t>(n)); };
    const int count = 1 + below(2);
    for (int i = 0; i < count; ++i) {
      const Shape shape =
          below(4) == 0 ? Shape{1 + below(3), 2 + below(5), 2 + below(4)} : Shape{1 + below(2), 1 + below(8), 1 + below(4), 1 + below(4)};
      inputs_.push_back({"x" + std::to_string(i), shape, DType::f32, below(2) == 0 ? Format::nchw : Format::nhwc});
      Naive x{shape, {}};
      for (std::int64_t k = 0; k < shape.elements(); ++k) x.values.push_back(static_cast<float>(below(19) - 9));
      given_.push_back(std::move(x));
    }
  }

  Plan plan() {
    const FunctionModel model([this](const std::vector<Value>& x) { return Grower(seed_).grow(x, given_, expected_); });
    return trace(model, inputs_);
  }

  void expect_right(Session& net, const char* what) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) net.input(inputs_[i].name).copy_from(given_[i].values);
    for (int run = 0; run < 2; ++run) {
      net.poison();
      net.run();
      for (std::size_t i = 0; i < expected_.size(); ++i) {
        ASSERT_EQ(net.output("y" + std::to_string(i)).floats(), expected_[i].values)
            << what << ", run " << run << ", seed " << seed_ << "\n"
            << plan_text(net.plan());
      }
    }
  }

 private:
  std::uint32_t seed_;
  std::vector<InputSpec> inputs_;
  std::vector<Naive> given_, expected_;
};

TEST(ViewsRandomTest, GraphsGiveWhatANaiveEvaluationGives) {
  std::size_t views = 0, copies = 0;
  for (std::uint32_t seed = 0; seed < 600 && !::testing::Test::HasFatalFailure(); ++seed) {
    RandomGraph graph(seed);
    const Plan traced = graph.plan();
    Session plain = compile(optimize(traced, {.rewrite = false, .fuse = false, .formats = false, .views = false}), Device::reference());
    graph.expect_right(plain, "as traced");
    Session net = compile(optimize(traced), Device::reference());
    graph.expect_right(net, "with views");
    Session kept = compile(optimize(traced), Device::reference(), {.keep_values = true});
    graph.expect_right(kept, "with views, all kept");
    // Every tap, of views and of steps, shows what the value is where nothing reuses memory.
    const std::vector<std::string> names = net.tap("*");
    graph.expect_right(net, "tapped");
    for (const std::string& name : names) {
      const auto made =
          std::find_if(net.plan().values.begin(), net.plan().values.end(), [&](const PlanValue& v) { return v.name == name; });
      if (made == net.plan().values.end()) continue;
      const int id = static_cast<int>(made - net.plan().values.begin());
      ASSERT_EQ(net.tapped(name).floats(), kept.value(id).floats()) << name << ", seed " << seed;
    }
    net.memory_plan().validate();
    views += net.plan().views.size();
    for (const Step& step : net.plan().steps) copies += step.note.empty() ? 0 : 1;
    if (seed % 20 == 0) {
      const VerifyReport report = verify(net);
      EXPECT_TRUE(report.ok()) << "seed " << seed << report.text();
    }
    Session rows = compile(optimize(traced, {.formats = false}), Device::reference());
    graph.expect_right(rows, "with views in nchw");
  }
  EXPECT_GT(views, 1500U) << "most of what can be a view is one";
  EXPECT_GT(copies, 500U) << "and what cannot is met too";
}

TEST(ViewsRandomTest, GraphsGiveTheSameOnAGpu) {
  FRIEZE_NEEDS_GPU();
#if FRIEZE_WITH_CUDA
  test::register_test_kernels();
  for (std::uint32_t seed = 0; seed < 60 && !::testing::Test::HasFatalFailure(); ++seed) {
    RandomGraph graph(seed);
    Session net = compile(optimize(graph.plan()), Device::cuda(), {.tune = false});
    graph.expect_right(net, "on a GPU");
    (void)net.tap("*");
    graph.expect_right(net, "tapped on a GPU");
    if (seed % 10 != 0) continue;
    const VerifyReport report = verify(net);
    EXPECT_TRUE(report.ok()) << "seed " << seed << report.text();
  }
#endif
}

}  // namespace
}  // namespace frieze

/// What a failure leaves behind on the CPU: nothing. Every allocation of a compile and of a run is refused in turn.
#include <gtest/gtest.h>

#include <new>

#include <frieze/graph/session.h>

#include "graph/allocation_hooks.h"
#include "graph/test_layers.h"

namespace frieze::test {
namespace {

struct Small : Module {
  Times first{{.factor = 2, .absorbs = 2}}, second{{.factor = 3}};
  Small() {
    add("first", first);
    add("second", second);
  }
  Value forward(Value x) const override { return second(silu(first(x))) + x; }
};

// Throws in the middle of a run, as long as it is told to.
class Moody final : public Layer {
 public:
  mutable bool throws = false;
  Inferred infer(std::span<const TensorSpec> in) const override { return elementwise_cost(in, {in[0].shape, in[0].dtype}, 1); }
  void reference(const ReferenceArgs& args) const override {
    check<Error>(!throws, "moody: no");
    from_floats(to_floats(args.in[0]), args.out[0]);
  }
  std::string_view type_name() const override { return "Moody"; }
};

// Calls body() with allocation 0 refused, then 1, and so on until one call makes fewer; gives how many there were. Each refusal must
// end in std::bad_alloc or a typed error, after which `afterwards()` is called.
template <class Body, class Afterwards>
int walk_through_allocations(Body&& body, Afterwards&& afterwards) {
  for (int which = 0;; ++which) {
    bool hit = false, failed = false;
    {
      const AllocationFault fault(which);
      try {
        body();
      } catch (const std::bad_alloc&) {
        failed = true;
      } catch (const Error&) {
        failed = true;  // with a message of which parts may be missing
      }
      hit = fault.hit();
    }
    if (!hit) return which;
    afterwards(which, failed);
    if (::testing::Test::HasFailure()) return which;
  }
}

TEST(FaultTest, ACompileThatRunsOutOfMemoryAnywhereLeaksNothing) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer has its own operator new";
  const Small model;
  const auto compile_it = [&] { (void)compile(model, {{"x", {1, 2, 3, 4}}}, Device::reference()); };
  compile_it();
  const std::int64_t live = live_allocations();
  const int points = walk_through_allocations(
      compile_it, [&](int which, bool) { EXPECT_EQ(live_allocations(), live) << "allocation " << which << " of a compile"; });
  EXPECT_GT(points, 50);
  std::printf("refused each of %d allocations of a compile\n", points);
}

TEST(FaultTest, ARunThatRunsOutOfMemoryAnywhereLeavesTheSessionUsable) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer has its own operator new";
  const Small model;
  Session net = compile(model, {{"x", {1, 2, 3, 4}}}, Device::reference());
  net.tap();
  net.input().copy_from(ramp(24));
  net.run();
  const std::vector<float> right = net.output().floats();
  const std::int64_t live = live_allocations();
  int refused = 0;
  const int points = walk_through_allocations([&] { net.run(); },
                                              [&](int which, bool failed) {
                                                EXPECT_TRUE(failed)
                                                    << "allocation " << which << " of a run was refused, and the run went on";
                                                EXPECT_EQ(live_allocations(), live) << "allocation " << which << " of a run";
                                                net.poison();
                                                net.run();
                                                EXPECT_EQ(net.output().floats(), right);
                                                ++refused;
                                              });
  EXPECT_GT(points, 3);
  EXPECT_EQ(refused, points);
}

TEST(FaultTest, AnEngineSurvivesACompileThatFails) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer has its own operator new";
  const Small model;
  Engine engine(model, Device::reference(), {}, 2);
  engine.session({{"x", {1, 1, 1, 2}}}).input().copy_from(std::vector<float>{1, 2});
  engine.session({{"x", {1, 1, 1, 2}}}).run();
  const std::vector<float> right = engine.session({{"x", {1, 1, 1, 2}}}).output().floats();
  (void)walk_through_allocations(
      [&] {
        (void)engine.session({{"x", {1, 1, 1, 64}}});
      },
      [&](int which, bool) {
        Session net = engine.session({{"x", {1, 1, 1, 2}}});
        net.input().copy_from(std::vector<float>{1, 2});
        net.poison();
        net.run();
        EXPECT_EQ(net.output().floats(), right) << "after allocation " << which;
        engine.session({{"x", {1, 1, 1, 3}}});  // evicts the large one, if it was made after all
        engine.session({{"x", {1, 1, 1, 2}}});
      });
}

TEST(FaultTest, AKernelThatFailsIsReportedAndTheNextRunIsRight) {
  struct Model : Module {
    Times before;
    Moody moody;
    Model() {
      add("before", before);
      add("moody", moody);
    }
    Value forward(Value x) const override { return times(moody(before(x))); }
  } model;
  Session net = compile(model, {{"x", {1, 1, 1, 2}}}, Device::reference());
  net.input().copy_from(std::vector<float>{1, 2});
  net.run();
  model.moody.throws = true;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(message_of<Error>([&] { net.run(); }), "moody: no");
  model.moody.throws = false;
  net.poison();
  net.run();
  EXPECT_EQ(net.output().floats(), (std::vector<float>{4, 8}));
}

}  // namespace
}  // namespace frieze::test

// What the passes make of the models there are: no concatenation is copied, and the arena is as small as what is alive at once.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include <frieze/core/error.h>
#include <frieze/graph/memory_plan.h>
#include <frieze/graph/plan.h>
#include <frieze/models/dc_ae/dc_ae.h>
#include <frieze/models/denoiser/denoiser.h>
#include <frieze/models/quickstart.h>

namespace frieze {
namespace {

void expect_tight(const Plan& plan, const std::string& what) {
  const MemoryPlan memory = plan_memory(plan, {});
  EXPECT_LE(static_cast<double>(memory.arena_bytes), 1.02 * static_cast<double>(memory.lower_bound))
      << what << ": " << memory.arena_bytes << " of " << memory.lower_bound;
}

std::vector<std::string> copies(const Plan& plan) {
  std::vector<std::string> notes;
  for (const Step& step : plan.steps) {
    if (!step.note.empty() || step.layer->type_name() == "Concat") notes.push_back(step.path + ": " + step.note);
  }
  return notes;
}

// No weights: neither shapes nor what can be a view depend on them.
template <class M>
Plan plan_of(const M& model, const Shape& x, DType dtype) {
  return optimize(trace(model, {{"x", x, dtype}}));
}

TEST(ModelMemory, TheDenoiserAndTheQuickstartAreAtTheLowerBound) {
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const auto& [h, w] : {std::pair{64, 64}, {384, 512}, {1088, 1920}}) {
      expect_tight(plan_of(Denoiser(), {1, 3, h, w}, t), concat_text("denoiser ", h, "x", w, " ", t));
      expect_tight(plan_of(Quickstart(), {1, 3, h, w}, t), concat_text("quickstart ", h, "x", w, " ", t));
    }
  }
}

TEST(ModelMemory, DcAeCopiesNoConcatenationAndIsAtTheLowerBound) {
  std::size_t views = 0;
  for (const std::string& name : dc_ae_variants()) {
    const DcAeConfig config = dc_ae_variant(name);
    const std::int64_t patch = config.ratio();
    for (const auto& [t, images] : {std::pair<DType, std::int64_t>{DType::f32, 2}, {DType::bf16, 1}}) {
      const Plan encoder = plan_of(DcAeEncoder(config), {images, 3, 4 * patch, 2 * patch}, t);
      const Plan decoder = plan_of(DcAeDecoder(config), {images, config.latent_channels, 4, 2}, t);
      for (const Plan* plan : {&encoder, &decoder}) {
        const std::string what = concat_text(name, plan == &encoder ? " encoder " : " decoder ", t, ", ", images, " images");
        EXPECT_EQ(copies(*plan), std::vector<std::string>{}) << what;
        expect_tight(*plan, what);
        views += plan->views.size();
      }
    }
  }
  EXPECT_GT(views, 50U);
}

}  // namespace
}  // namespace frieze

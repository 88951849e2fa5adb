#include <frieze/core/module_list.h>

#include <gtest/gtest.h>

#include <iterator>

#include <frieze/core/error.h>

#include "support/reference.h"

namespace frieze::test {
namespace {

struct Weighted : Module {
  Parameter weight;
  explicit Weighted(int n = 1) { add_parameter(weight, "weight", {n}, Init::fan_in(1)); }
};
struct Bare final : Module {};

std::vector<std::string> list_keys(const Module& module) {
  std::vector<std::string> out;
  module.visit_parameters([&](const std::string& key, const Parameter&) { out.push_back(key); });
  return out;
}

TEST(ModuleListTest, HoldsModulesOfAnyClassAndNamesThemByTheirPlace) {
  ModuleList<> list;
  EXPECT_TRUE(list.empty());
  list.emplace_back<Weighted>(3);
  const Bare& other = list.emplace_back<Bare>();
  list.push_back(std::make_unique<Weighted>(2));
  EXPECT_EQ(list.size(), 3U);
  EXPECT_EQ(&list[1], &other);
  EXPECT_EQ(list[2].path(), "2");
  EXPECT_EQ(list_keys(list), (std::vector<std::string>{"0.weight", "2.weight"}));
}

TEST(ModuleListTest, IteratesOverTheModulesAsTheirOwnClass) {
  ModuleList<Weighted> list;
  for (int i = 1; i <= 3; ++i) list.emplace_back(i);
  int sum = 0;
  for (const Weighted& leaf : std::as_const(list)) sum += static_cast<int>(leaf.weight.shape[0]);
  EXPECT_EQ(sum, 6);
  for (Weighted& leaf : list) leaf.weight.values = std::vector<float>(leaf.weight.shape[0], 7.0F);
  EXPECT_EQ(list[2].weight.values, (std::vector<float>{7, 7, 7}));
  EXPECT_EQ(std::distance(list.begin(), list.end()), 3);
  EXPECT_EQ(std::next(list.begin())->weight.shape, Shape{2});
  static_assert(std::forward_iterator<ModuleList<Weighted>::iterator> && std::forward_iterator<ModuleList<Weighted>::const_iterator>);
  // Addresses stay, however long the list grows.
  const Weighted* const first = &list[0];
  for (int i = 0; i < 100; ++i) list.emplace_back();
  EXPECT_EQ(&list[0], first);
}

TEST(ModuleListTest, RefusesWhatIsNotThere) {
  struct Net : Module {
    ModuleList<Weighted> blocks;
    Net() { add("blocks", blocks); }
  } net;
  net.blocks.emplace_back();
  EXPECT_EQ(message_of<OptionError>([&] { (void)net.blocks[1]; }), "blocks (ModuleList): module 1 was asked for, it has 1");
  EXPECT_EQ(message_of<OptionError>([&] { net.blocks.push_back(std::unique_ptr<Weighted>()); }), "ModuleList: there is no module to add");
  EXPECT_EQ(net.blocks.size(), 1U);
}

TEST(SequentialTest, TakesModulesAndFunctions) {
  Sequential seq{[](Value x) { return x; }, std::make_unique<Weighted>(2), std::make_unique<Bare>()};
  EXPECT_EQ(seq.size(), 3U);
  EXPECT_EQ(seq.class_name(), "Sequential");
  EXPECT_EQ(seq[0].class_name(), "FunctionModule");
  EXPECT_EQ(list_keys(seq), std::vector<std::string>{"1.weight"}) << "as nn.Sequential(nn.SiLU(), nn.Linear(…)) names them";
  seq.emplace_back<Weighted>();
  EXPECT_EQ(list_keys(seq), (std::vector<std::string>{"1.weight", "3.weight"}));
}

}  // namespace
}  // namespace frieze::test

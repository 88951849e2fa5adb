#include <frieze/core/glob.h>

#include <gtest/gtest.h>

#include <frieze/core/nearest.h>

namespace frieze::test {
namespace {

using Parts = std::vector<std::string_view>;

TEST(Glob, WildcardsMeanWhatTheySay) {
  for (const char* fits : {"*", "conv1", "c*1", "*conv1*", "c?nv1", "**", "conv*", "*1"}) EXPECT_TRUE(matches(fits, "conv1")) << fits;
  for (const char* not_it : {"", "conv", "conv11", "?conv1", "c*2", "onv1", "CONV1"}) EXPECT_FALSE(matches(not_it, "conv1")) << not_it;
  EXPECT_TRUE(matches("", ""));
  EXPECT_TRUE(matches("a*b*c", "a-b-b-c"));
  EXPECT_FALSE(matches("a*b*c", "a-c-b"));
}

TEST(Glob, CapturesWhatTheWildcardsStandFor) {
  EXPECT_EQ(captures("*.gamma", "a.b.gamma"), Parts{"a.b"});
  EXPECT_EQ(captures("layers.*.?.*", "layers.12.3.w"), (Parts{"12", "3", "w"}));
  EXPECT_EQ(captures("*.*", "a.b.c"), (Parts{"a", "b.c"})) << "all but the last take as little as they can";
  EXPECT_EQ(captures("a*b*c", "axbybzc"), (Parts{"x", "ybz"}));
  EXPECT_EQ(captures("a**", "ab"), (Parts{"", "b"}));
  EXPECT_EQ(captures("a*", "a"), Parts{""});
  EXPECT_EQ(captures("plain", "plain"), Parts{});
  EXPECT_EQ(captures("*?x", "aaxbx"), (Parts{"aax", "b"})) << "what a '?' took on a way that led nowhere is forgotten";
  EXPECT_FALSE(captures("a?", "a").has_value());
  EXPECT_EQ(with_captures("b.*.?", {"x", "y"}), "b.x.y");
  EXPECT_EQ(with_captures("no", {"x"}), "no");
  EXPECT_EQ(wildcards("a*b?"), 2U);
}

// Backtracking over each star would take longer than the universe is old.
TEST(Glob, HostilePatternsEnd) {
  const std::string text(1000, 'a');
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(matches(pattern + "b", text));
}

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("kitten", "sitting", 100), 3U);
  EXPECT_EQ(edit_distance("", "abc", 100), 3U);
  EXPECT_EQ(edit_distance("same", "same", 100), 0U);
  EXPECT_EQ(edit_distance("kitten", "sitting", 2), 2U) << "never more than the limit";
  EXPECT_EQ(edit_distance("a", "abcdefgh", 3), 3U);
}

TEST(Nearest, IsTheLeastEditsAway) {
  NearestName name("block.conv1.weight");
  for (const char* other : {"block.bn1.weight", "block.conv2.weight", "block.conv12.bias", "head.weight"}) name.offer(other);
  EXPECT_EQ(name.found(), "block.conv2.weight");
  NearestName far("fc");
  far.offer("something.else");
  EXPECT_EQ(far.found(), "");
  NearestName tie("ab1");
  tie.offer("ab2", 1);
  tie.offer("ab3");
  EXPECT_EQ(tie.found(), "ab3") << "the other one is handicapped";
}

TEST(Nearest, WorkIsBoundedWhateverIsOffered) {
  NearestName name(std::string(100'000, 'x'));
  const std::string other(200, 'y');
  for (int i = 0; i < 1'000'000; ++i) name.offer(other);
  EXPECT_EQ(name.found(), "");
}

}  // namespace
}  // namespace frieze::test

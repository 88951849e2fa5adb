/// Which memory bind() takes, by the rules that hold on every device.
#include <gtest/gtest.h>

#include <vector>

#include <frieze/graph/port_memory.h>
#include <frieze/graph/session.h>

#include "graph/test_layers.h"

namespace frieze::test {
namespace {

constexpr std::int64_t kCount = 64;
constexpr std::size_t kBytes = kCount * sizeof(float);

// s = a + 2 * b, t = 4 * b.
Session two_and_two() {
  const Lambda model([](const std::vector<NamedValue>& in) {
    const Value twice = times(in.at(1).value);
    return std::vector<NamedValue>{{"s", in.at(0).value + twice}, {"t", times(twice)}};
  });
  return compile(model, {{"a", {kCount}}, {"b", {kCount}}}, Device::reference());
}

std::vector<float> all(float value) { return std::vector<float>(static_cast<std::size_t>(kCount), value); }

void expect_right(Session& net, float a, float b) {
  net.input("a").copy_from(all(a));
  net.input("b").copy_from(all(b));
  net.poison();
  net.run();
  EXPECT_EQ(net.output("s").floats(), all(a + 2 * b));
  EXPECT_EQ(net.output("t").floats(), all(4 * b));
}

void expect_refused(Session& net, const char* name, void* data, const char* words) {
  const std::string text = message_of<OptionError>([&] { net.bind(name, data); });
  EXPECT_EQ(text.find(std::string("bind '") + name + "'"), 0U) << text;
  EXPECT_TRUE(contains(text, words));
}

TEST(PortMemoryTest, OverlapsAreRefusedInEveryOrder) {
  Session net = two_and_two();
  alignas(256) char memory[4 * kBytes];
  net.bind("a", memory);
  expect_refused(net, "s", memory, "256 of its 256 bytes are bound to 'a'");
  expect_refused(net, "t", memory + 16, "240 of its 256 bytes are bound to 'a'");
  expect_refused(net, "t", memory + kBytes - 16, "16 of its 256 bytes");
  net.bind("s", memory + kBytes);
  expect_refused(net, "t", memory + kBytes + 128, "bound to 's'");
  expect_refused(net, "b", memory + kBytes, "bound to 's'");
  expect_refused(net, "a", memory + 16, "bound to 's'");
  EXPECT_EQ(net.input("a").view().data, memory);
  expect_right(net, 3, 5);
  net.bind("a", nullptr);
  net.bind("t", memory);
  expect_refused(net, "a", memory, "bound to 't'");
  expect_right(net, 1, 2);
  net.bind("t", nullptr);
  net.bind("a", memory);
  expect_right(net, 2, 1);
}

TEST(PortMemoryTest, InputsMayShareMemory) {
  Session net = two_and_two();
  alignas(16) char memory[kBytes];
  net.bind("a", memory);
  net.bind("b", memory);
  expect_right(net, 3, 3);
}

TEST(PortMemoryTest, TheSessionsOwnMemoryIsRefused) {
  Session net = two_and_two();
  char* const a = net.input("a").view().as<char>();
  char* const t = net.output("t").view().as<char>();
  expect_refused(net, "s", a, "the session's own, of 'a'");
  expect_refused(net, "a", t, "the session's own, of 't'");
  alignas(16) char memory[kBytes];
  net.bind("a", memory);
  expect_refused(net, "s", a, "the session's own, of 'a'");
  expect_refused(net, "a", a + 16, "the session's own, of 'a'");
  net.bind("a", a);
  expect_right(net, 1, 2);
}

TEST(PortMemoryTest, IntermediateValuesAreRefused) {
  const Session net = two_and_two();
  PortMemory ports;
  std::vector<float> own[4], arena(4 * kCount);
  std::size_t next = 0;
  for (const auto* list : {&net.plan().inputs, &net.plan().outputs}) {
    for (const PlanPort& port : *list) {
      own[next].resize(kCount);
      ports.own[port.value] = ports.bound[port.value] = own[next++].data();
    }
  }
  const int a = net.plan().input("a");
  const auto bytes = static_cast<std::int64_t>(arena.size() * sizeof(float));
  const auto check_at = [&](const void* data) { check_port_memory(net.plan(), ports, a, data, arena.data(), bytes); };
  std::vector<float> elsewhere(kCount);
  check_at(elsewhere.data());
  check_at(ports.own.at(a));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { check_at(arena.data() + 4 * kCount - 1); }), "of intermediate values"));
  EXPECT_TRUE(contains(message_of<OptionError>([&] { check_at(arena.data()); }), "of intermediate values"));
}

// A model may give its input out: one value, two names.
TEST(PortMemoryTest, AnInputThatIsAnOutputIsOnePort) {
  const Lambda model([](const std::vector<NamedValue>& in) {
    return std::vector<NamedValue>{{"same", in.at(0).value}, {"y", times(in.at(0).value)}};
  });
  Session net = compile(model, {{"x", {kCount}}}, Device::reference());
  alignas(16) char memory[2 * kBytes];
  net.bind("x", memory);
  net.input("x").copy_from(all(3));
  net.run();
  EXPECT_EQ(net.output("same").floats(), all(3));
  EXPECT_EQ(net.output("y").floats(), all(6));
  expect_refused(net, "y", memory, "bound to 'x'");
}

}  // namespace
}  // namespace frieze::test

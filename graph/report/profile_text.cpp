#include <ostream>

#include <frieze/core/error.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/report/text_table.h>

namespace frieze {
namespace {

std::string percent(double part, double whole) { return whole > 0 ? fixed(100 * part / whole, 1) : "-"; }

std::string bound(const ProfileStep& step) {
  if (step.floor_us() == 0) return "-";
  return step.math_us > step.copy_us ? "math" : "bytes";
}

std::string graph_lines(const ProfileReport& r) {
  std::string text = concat_text("one replay ", fixed(r.run_us, 2), " us (middle half of ", counted(r.rounds, "round"), "; quartiles ",
                                 fixed(r.run_low_us, 2), " to ", fixed(r.run_high_us, 2), "); steps add up to ", fixed(r.sum_us(), 2),
                                 " us, with ", fixed(r.between_us, 2), " us from one replay to the next: ", r.excess() < 0 ? "" : "+",
                                 fixed(100 * r.excess(), 1), " %\n");
  text += concat_text("stamps cost ", fixed(r.stamp_us, 2), " us each, taken off below; with them a replay takes ", fixed(r.stamped_us, 2),
                      " us\n");
  text += concat_text("measured here: copies ", fixed(r.copy_bytes_per_us / 1000, 0), " GB/s, ", fixed(r.cached_bytes_per_us / 1000, 0),
                      " GB/s within L2; ", name(r.dtype), r.tf32 ? " (TF32)" : "", " matrix product of ", r.product_size, " ",
                      fixed(r.flops_per_us / 1e6, 1), " TFLOP/s\n");
  text += concat_text("floors add up to ", fixed(r.floor_us(), 2), " us, ", percent(r.floor_us(), r.run_us),
                      " % of a replay; from one node to the next, with nothing to do: ", fixed(r.wait_us(), 2), " us, ",
                      percent(r.wait_us(), r.run_us), " %\n");
  return text;
}

std::string cpu_lines(const ProfileReport& r) {
  return concat_text("one run ", fixed(r.run_us / 1000, 3), " ms (middle half of ", counted(r.rounds, "round"), "); steps add up to ",
                     fixed(r.sum_us() / 1000, 3), " ms\n",
                     r.reference
                         ? "wall times of the reference, which is made to be right, not fast: no floors, and nothing to learn for a GPU\n"
                         : "wall times on the CPU: no floors, and nothing to learn for a GPU\n");
}

}  // namespace

std::string ProfileReport::text() const {
  std::string out = concat_text("profile on ", device, ", ", name(dtype), ", tf32 ", tf32 ? "on" : "off", "\n");
  out += stamped ? graph_lines(*this) : cpu_lines(*this);
  if (!stamped) {
    TextTable table({{"us", Align::right}, {"%", Align::right}, {"path"}, {"layer"}, {"output"}});
    for (const std::size_t i : ranking()) {
      const ProfileStep& s = steps[i];
      table.row({fixed(s.us, 1), percent(s.us, sum_us()), s.path, s.layer, s.output});
    }
    return out + table.text();
  }
  TextTable table({{"us", Align::right},
                   {"%", Align::right},
                   {"floor", Align::right},
                   {"by"},
                   {"x", Align::right},
                   {"above", Align::right},
                   {"wait", Align::right},
                   {"nodes", Align::right},
                   {"blocks", Align::right},
                   {"path"},
                   {"layer"},
                   {"output"},
                   {"algorithm"}});
  for (const std::size_t i : ranking()) {
    const ProfileStep& s = steps[i];
    table.row({fixed(s.us, 2), percent(s.us, sum_us()), fixed(s.floor_us(), 2), bound(s), s.floor_us() > 0 ? fixed(s.ratio(), 2) : "-",
               fixed(s.above_us(), 2), fixed(s.wait_us, 2), std::to_string(s.nodes), std::to_string(s.blocks), s.path, s.layer, s.output,
               s.algorithm});
  }
  return out + table.text() +
         concat_text(
             "by time above the floor: what a copy of the step's bytes takes, or its flops at the matrix product's rate. blocks: of "
             "the largest grid, for ",
             sm_count, " SMs\n");
}

std::ostream& operator<<(std::ostream& out, const ProfileReport& report) { return out << report.text(); }

}  // namespace frieze

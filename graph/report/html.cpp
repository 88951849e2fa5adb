#include <frieze/graph/report/html.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <frieze/core/error.h>
#include <frieze/core/integers.h>
#include <frieze/core/version.h>
#include <frieze/graph/memory_bill.h>
#include <frieze/graph/report/html_style.h>
#include <frieze/graph/report/memory_text.h>
#include <frieze/graph/report/text_table.h>

namespace frieze {

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

namespace {

std::string esc(std::string_view text) { return html_escape(text); }

// Microseconds, or milliseconds where the whole is long.
std::string time_text(double us) { return us >= 10000 ? fixed(us / 1000, 2) + " ms" : fixed(us, us < 100 ? 2 : 1) + " µs"; }

std::string card(const std::string& value, const std::string& what) {
  return "<div class=card><b>" + value + "</b><span>" + what + "</span></div>";
}

std::string cell(const std::string& text, const char* kind = "n") { return concat_text("<td class=\"", kind, "\">", text, "</td>"); }

std::string bar(double share, const char* kind) {
  return concat_text("<td><span class=track><span class=\"bar ", kind, "\" style=\"width:", fixed(100 * std::clamp(share, 0.0, 1.0), 1),
                     "%\"></span></span></td>");
}

std::string rect(double x, double y, double w, double h, const std::string& kind, const std::string& title = {}) {
  std::string text = concat_text("<rect class=\"", kind, "\" x=\"", fixed(x, 2), "\" y=\"", fixed(y, 2), "\" width=\"",
                                 fixed(std::max(w, 0.0), 2), "\" height=\"", fixed(h, 2), "\"");
  return text + (title.empty() ? "/>" : "><title>" + title + "</title></rect>");
}

// A label where it fits: about six units a letter. A stump of a name tells nothing.
std::string label(double x, double y, double w, const std::string& text) {
  const auto room = static_cast<std::size_t>(std::max(0.0, (w - 8) / 6.2));
  if (room < 7 && room < text.size()) return {};
  const std::string shown = text.size() <= room ? esc(text) : esc(text.substr(0, room - 1)) + "…";
  return concat_text("<text class=on x=\"", fixed(x + 4, 1), "\" y=\"", fixed(y, 1), "\">", shown, "</text>");
}

constexpr double kWidth = 1200;

class Timeline {
 public:
  explicit Timeline(const ProfileReport& profile) : profile_(profile), total_(std::max(profile.sum_us(), 1e-9)) {
    rows_ = std::clamp<int>(static_cast<int>(ceil_div(profile.steps.size(), 48)), 1, 8);
    per_row_ = total_ / rows_;
  }

  std::string svg() {
    std::string body;
    double at = 0;
    for (const ProfileStep& step : profile_.steps) {
      const double floor = std::min(step.floor_us(), step.us), wait = std::min(step.wait_us, step.us - floor);
      const std::string title =
          concat_text(esc(step.path), ": ", time_text(step.us), profile_.stamped ? ", floor " + time_text(step.floor_us()) : "", "\n",
                      esc(step.layer), "\n", esc(step.algorithm));
      body += span(at, at + step.us, profile_.stamped ? "above" : "work", title);
      if (profile_.stamped) {
        body += span(at, at + floor, step.math_us > step.copy_us ? "math" : "bytes", title);
        body += span(at + step.us - wait, at + step.us, "wait", title);
      }
      body += outline(at, at + step.us, step.path);
      at += step.us;
    }
    return concat_text("<svg viewBox=\"0 0 ", kWidth, " ", rows_ * kRow, "\" role=img aria-label=\"Timeline of one run, step by step\">",
                       axis(), body, "</svg>");
  }

 private:
  static constexpr double kBar = 38, kRow = 66;

  // [from, to] in microseconds may cross the ends of rows.
  template <class Draw>
  std::string pieces(double from, double to, Draw&& draw) const {
    std::string text;
    for (int row = 0; row < rows_; ++row) {
      const double begin = std::max(from, row * per_row_), end = std::min(to, (row + 1) * per_row_);
      if (end > begin) text += draw((begin - row * per_row_) / per_row_ * kWidth, row * kRow, (end - begin) / per_row_ * kWidth);
    }
    return text;
  }
  std::string span(double from, double to, const char* kind, const std::string& title) const {
    return pieces(from, to, [&](double x, double y, double w) { return rect(x, y, w, kBar, kind, title); });
  }
  std::string outline(double from, double to, const std::string& path) const {
    return pieces(from, to, [&](double x, double y, double w) { return rect(x, y, w, kBar, "step") + label(x, y + 23, w, path); });
  }
  std::string axis() const {
    double unit = std::pow(10.0, std::floor(std::log10(per_row_)));
    if (per_row_ / unit < 2)
      unit /= 5;
    else if (per_row_ / unit < 5)
      unit /= 2;
    std::string text;
    for (int row = 0; row < rows_; ++row) {
      for (double t = std::ceil(row * per_row_ / unit) * unit; t < (row + 1) * per_row_ - 0.03 * per_row_; t += unit) {
        const double x = (t - row * per_row_) / per_row_ * kWidth, y = row * kRow + kBar;
        text +=
            concat_text("<line class=axis x1=\"", fixed(x, 1), "\" x2=\"", fixed(x, 1), "\" y1=\"", y, "\" y2=\"", y + 6,
                        "\"/><text class=tick x=\"", fixed(x + 3, 1), "\" y=\"", y + 15, "\">", fixed(t, unit < 1 ? 1 : 0), " µs</text>");
      }
    }
    return text;
  }

  const ProfileReport& profile_;
  double total_, per_row_ = 1;
  int rows_ = 1;
};

std::string head(const std::string& title) {
  return concat_text(
      "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>",
      esc(title), "</title>\n<style>", kReportStyle, "</style></head><body><main>\n");
}

std::string cards(const ProfileReport& p, const Session& net) {
  std::string text = "<div class=cards>";
  text += card(time_text(p.run_us), p.stamped ? "one replay" : "one run on the CPU");
  if (p.stamped) {
    text += card(time_text(p.floor_us()), "floors of all steps, " + fixed(100 * p.floor_us() / p.run_us, 0) + " % of it");
    text += card(time_text(p.wait_us()), "between dependent nodes");
    text += card(concat_text(p.excess() < 0 ? "" : "+", fixed(100 * p.excess(), 1), " %"),
                 "steps and " + time_text(p.between_us) + " to the next replay, against the replay");
  }
  text += card(mebibytes(net.receipt().memory.total()), "held by the session");
  text += card(std::to_string(p.steps.size()),
               p.stamped ? "steps, " + counted(static_cast<std::int64_t>(net.receipt().nodes.size()), "node") + " in one graph" : "steps");
  return text + "</div>\n";
}

std::string timeline(const ProfileReport& p) {
  std::string text = "<h2 id=timeline>Timeline</h2>\n<figure>" + Timeline(p).svg();
  if (p.stamped) {
    text +=
        "<div class=key><span><i class=math></i>floor: the step's flops at the matrix product's rate</span><span><i class=bytes></i>floor: "
        "a "
        "copy of the step's bytes</span><span><i class=above></i>above the floor</span><span><i class=wait></i>from one node to the "
        "next</span></div>";
  }
  text += "</figure>\n<p class=soft>";
  if (p.stamped) {
    text +=
        concat_text("Clock stamps at the borders of the steps, in a sibling of the captured graph; ", counted(p.rounds, "round"),
                    ", middle half. A stamp costs ", fixed(p.stamp_us, 2),
                    " µs, which is taken off. Measured on this device, in the same "
                    "process: copies ",
                    fixed(p.copy_bytes_per_us / 1000, 0), " GB/s (", fixed(p.cached_bytes_per_us / 1000, 0), " within L2), ", name(p.dtype),
                    p.tf32 ? " (TF32)" : "", " matrix product of ", p.product_size, ": ", fixed(p.flops_per_us / 1e6, 1), " TFLOP/s.");
  } else {
    text += "Wall times on the CPU: there are no floors, and they tell nothing about a GPU.";
  }
  return text + "</p>\n";
}

std::string step_table(const ProfileReport& p) {
  std::string text = concat_text("<h2 id=steps>Steps, ", p.stamped ? "by time above the floor" : "by time",
                                 "</h2>\n<div class=wide><table><thead><tr>", "<th>path<th>layer<th>output<th class=n>µs<th class=n>%");
  if (p.stamped)
    text += "<th class=n>floor<th>by<th class=n>×<th class=n>above<th><th class=n>wait<th class=n>nodes<th class=n>blocks<th>algorithm";
  text += "</tr></thead><tbody>\n";
  double longest = 1e-9;
  for (const ProfileStep& s : p.steps) longest = std::max(longest, s.us);
  for (const std::size_t i : p.ranking()) {
    const ProfileStep& s = p.steps[i];
    text += concat_text("<tr>", cell(esc(s.path), "path"), cell(esc(s.layer), "long"), cell(esc(s.output), ""), cell(fixed(s.us, 2)),
                        cell(fixed(100 * s.us / std::max(p.sum_us(), 1e-9), 1)));
    if (p.stamped) {
      const bool math = s.math_us > s.copy_us;
      text += cell(fixed(s.floor_us(), 2)) + cell(s.floor_us() > 0 ? math ? "math" : "bytes" : "–", "") +
              cell(s.floor_us() > 0 ? fixed(s.ratio(), 2) : "–") + cell(fixed(s.above_us(), 2)) + bar(s.above_us() / longest, "above") +
              cell(fixed(s.wait_us, 2)) + cell(std::to_string(s.nodes)) + cell(std::to_string(s.blocks)) + cell(esc(s.algorithm), "long");
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string verify_section(const VerifyReport* v) {
  std::string text = "<h2 id=budget>Error budget</h2>\n";
  if (v == nullptr) return text + "<p class=soft>Not asked for: <code>frieze profile MODEL --html FILE --verify</code> adds it.</p>\n";
  text += concat_text(
      "<p>", v->ok() ? "<span class=good>Every layer is within its budget.</span>" : "<span class=bad>Verification failed.</span>",
      " Each layer against the double-precision reference of the same inputs; worst share of a budget ", short_number(v->worst_share));
  if (!v->first_divergent.empty()) text += "; first divergent layer <b>" + esc(v->first_divergent) + "</b>";
  if (!v->first_non_finite.empty()) {
    text += "; first NaN or Inf in <b>" + esc(v->first_non_finite) + "</b>";
    if (v->inputs_non_finite > 0) text += concat_text(", of inputs that hold ", v->inputs_non_finite);
  }
  if (!v->first_unequal.empty()) text += "; first unequal value <b>" + esc(v->first_unequal) + "</b>";
  text +=
      ".</p>\n<div class=wide><table><thead><tr><th>path<th>layer<th class=n>share<th><th class=n>max abs<th class=n>max ulp<th "
      "class=n>nmse<th class=n>drift<th class=n>NaN, Inf</tr></thead><tbody>\n";
  for (const VerifyLayer& layer : v->layers) {
    const Difference& d = layer.isolated;
    text += concat_text("<tr>", cell(esc(layer.path), "path"), cell(esc(layer.layer), "long"),
                        cell(short_number(d.share), layer.ok() ? "n" : "n bad"), bar(d.share, "bytes"), cell(short_number(d.max_abs)),
                        cell(short_number(d.max_ulp)), cell(short_number(d.nmse)), cell(short_number(layer.drift_nmse)),
                        cell(concat_text(layer.nan, ", ", layer.inf), layer.nan + layer.inf > 0 ? "n bad" : "n"), "</tr>\n");
  }
  return text + "</tbody></table></div>\n";
}

std::string against_section(const AgainstReport& a) {
  std::string text = concat_text(
      "<h2 id=against>Against ", esc(a.file), "</h2>\n<p>",
      a.ok() ? "<span class=good>Every output is within the tolerance.</span>" : "<span class=bad>Verification failed.</span>",
      " Largest difference allowed: ", short_number(a.tolerance), " of the largest magnitude of an output, ",
      a.tolerance_was_given ? "as asked for" : "from the steps' error budgets",
      ".</p>\n<div class=wide><table><thead><tr><th>output<th>tensor<th class=n>share<th><th class=n>largest<th class=n>max abs<th "
      "class=n>nmse<th class=n>psnr, dB<th class=n>NaN, Inf</tr></thead><tbody>\n");
  for (const AgainstOutput& output : a.outputs) {
    const Difference& d = output.difference;
    text += concat_text("<tr>", cell(esc(output.name), "path"), cell(esc(concat_text(output.spec)), "long"),
                        cell(short_number(d.share), output.ok() ? "n" : "n bad"), bar(d.share, "bytes"), cell(short_number(output.largest)),
                        cell(short_number(d.max_abs)), cell(short_number(d.nmse)), cell(short_number(output.psnr)),
                        cell(concat_text(output.nan, ", ", output.inf), output.nan + output.inf > 0 ? "n bad" : "n"), "</tr>\n");
  }
  return text + "</tbody></table></div>\n";
}

std::string rewrites_section(const Plan& plan, const VerifyReport* v) {
  std::string text = "<h2 id=rewrites>Rewrites</h2>\n";
  const std::vector<AppliedRewrite> rewrites = applied_rewrites(plan);
  if (rewrites.empty()) return text + "<p class=soft>None applied.</p>\n";
  text += "<div class=wide><table><thead><tr><th>rewrite<th class=n>places";
  const bool proven = v != nullptr && !v->rewrites.empty();
  if (proven) text += "<th class=n>share<th><th class=n>max abs<th class=n>nmse<th>worst at";
  text += "</tr></thead><tbody>\n";
  for (const AppliedRewrite& applied : rewrites) {
    text += concat_text("<tr>", cell(esc(applied.name), "path"), cell(std::to_string(applied.times)));
    const auto named = [&](const VerifyRewrite& r) { return r.name == applied.name; };
    if (proven) {
      const auto r = std::find_if(v->rewrites.begin(), v->rewrites.end(), named);
      if (r != v->rewrites.end())
        text += cell(short_number(r->worst.share), r->ok() ? "n" : "n bad") + bar(r->worst.share, "bytes") +
                cell(short_number(r->worst.max_abs)) + cell(short_number(r->worst.nmse)) + cell(esc(r->path), "path");
    }
    text += "</tr>\n";
  }
  text += "</tbody></table></div>\n<p class=soft>";
  return text +
         (proven ? "Each alone: what it gives against what it took away, from the same inputs, in the reference."
                 : "<code>frieze verify MODEL --rewrites</code> proves each on its own.") +
         "</p>\n";
}

std::string memory_section(const Session& net) {
  const MemoryPlan& memory = net.memory_plan();
  const MemoryBill& bill = net.receipt().memory;
  std::string text = "<h2 id=memory>Memory</h2>\n<p>" + esc(bill_text(bill)) + ".</p>\n";
  if (memory.placements.empty()) return text + "<p class=soft>The arena is empty: every value is an input or an output.</p>\n";
  constexpr double kHeight = 320;
  const double steps = static_cast<double>(net.plan().steps.size()), bytes = static_cast<double>(memory.arena_bytes);
  text += concat_text("<figure><svg viewBox=\"0 0 ", kWidth, " ", kHeight + 18, "\" role=img aria-label=\"The arena over the steps\">");
  for (const Placement& p : memory.placements) {
    const double x = p.first_step / steps * kWidth, w = (p.last_step + 1 - p.first_step) / steps * kWidth;
    const double y = static_cast<double>(p.offset) / bytes * kHeight, h = static_cast<double>(p.bytes) / bytes * kHeight;
    const std::string who = holder(net.plan(), p);
    text += rect(x, y, w, h, p.value < 0 ? "work" : "hold",
                 concat_text(esc(who), ": ", mebibytes(p.bytes), " at ", p.offset, ", steps ", p.first_step, " to ", p.last_step));
    if (h >= 13) text += label(x, y + h / 2 + 4, w, who);
  }
  text += concat_text("<text class=tick x=0 y=\"", kHeight + 13, "\">step 0</text><text class=tick text-anchor=end x=\"", kWidth, "\" y=\"",
                      kHeight + 13, "\">step ", net.plan().steps.size() - 1, "</text></svg>");
  text += concat_text("<div class=key><span>offset downwards, ", mebibytes(memory.arena_bytes), " in all, ", mebibytes(memory.lower_bound),
                      " alive at once at most</span><span><i class=above></i>workspace</span></div></figure>\n");
  return text;
}

std::string receipt_section(const Receipt& r) {
  std::string text = "<h2 id=receipt>Receipt</h2>\n<p>" + esc(r.device) + ", tf32 " + (r.tf32 ? "on" : "off") + ". ";
  if (!r.captured) return text + "Nothing is captured: a run executes the steps one by one.</p>\n";
  text += concat_text(counted(r.launches_per_run, "launch"), " per run: ", counted(r.count("kernel"), "kernel"), ", ",
                      counted(r.count("memset"), "memset"), ", ", r.count("memcpy"), " copies, ", counted(r.edges, "edge"), ", ",
                      counted(r.dependent_launches, "dependent launch"), ", ", counted(r.streams, "stream"), ". Prepare ",
                      fixed(r.prepare_ms, 1), " ms, capture ", fixed(r.capture_ms, 2), ", instantiate ", fixed(r.instantiate_ms, 2),
                      ", upload ", fixed(r.upload_ms, 2), ".</p>\n");
  text +=
      "<details><summary>Every node of the graph</summary><div class=wide><table><thead><tr><th class=n>#<th>path<th>kind<th "
      "class=n>grid<th class=n>block<th class=n>shared<th class=n>regs<th>kernel</tr></thead><tbody>\n";
  const auto extent = [](const unsigned(&e)[3]) { return concat_text(e[0], "×", e[1], "×", e[2]); };
  for (std::size_t i = 0; i < r.nodes.size(); ++i) {
    const ReceiptNode& n = r.nodes[i];
    const bool kernel = n.kind == "kernel";
    text +=
        concat_text("<tr>", cell(std::to_string(i)), cell(esc(n.path), "path"), cell(esc(n.kind), ""), cell(kernel ? extent(n.grid) : "–"),
                    cell(kernel ? extent(n.block) : "–"), cell(kernel ? std::to_string(n.shared_bytes) : "–"),
                    cell(kernel ? std::to_string(n.registers) : "–"), cell(esc(n.function), "long"), "</tr>\n");
  }
  return text + "</tbody></table></div></details>\n";
}

}  // namespace

std::string html_report(const HtmlReport& report) {
  const Session& net = *report.session;
  std::string text = head(report.title);
  text += concat_text("<h1>", esc(report.title), "</h1>\n<p class=soft>", esc(net.receipt().device), " · input ",
                      esc(concat_text(net.plan().spec(net.plan().inputs.front().value))), " · frieze ", esc(version()), " (", esc(commit()),
                      ")</p>\n");
  if (report.profile != nullptr) text += cards(*report.profile, net) + timeline(*report.profile) + step_table(*report.profile);
  if (report.profile != nullptr || report.verify != nullptr) text += verify_section(report.verify);
  if (report.against != nullptr) text += against_section(*report.against);
  text += rewrites_section(net.plan(), report.verify) + memory_section(net) + receipt_section(net.receipt());
  return text + "</main></body></html>\n";
}

}  // namespace frieze

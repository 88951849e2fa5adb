#include <algorithm>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/graph/report/text_table.h>
#include <frieze/graph/verify.h>

namespace frieze {

namespace {

std::string rewrites_text(const std::vector<VerifyRewrite>& rewrites) {
  if (rewrites.empty()) return {};
  TextTable table({{"rewrite"},
                   {"places", Align::right},
                   {"worst at"},
                   {"max abs", Align::right},
                   {"max rel", Align::right},
                   {"nmse", Align::right},
                   {"budget", Align::right},
                   {"share", Align::right},
                   {""}});
  std::string wrong;
  for (const VerifyRewrite& r : rewrites) {
    const Difference& d = r.worst;
    table.row({r.name, std::to_string(r.times), r.path, short_number(d.max_abs), short_number(d.max_rel), short_number(d.nmse),
               short_number(d.budget), short_number(d.share), r.ok() ? "" : "FAIL"});
    if (!r.ok() && wrong.empty()) wrong = concat_text("wrong rewrite: '", r.name, "' at ", r.path, "\n");
  }
  const auto passed = std::count_if(rewrites.begin(), rewrites.end(), [](const VerifyRewrite& r) { return r.ok(); });
  return concat_text("each rewrite alone, what it gives against what it took away, in the reference\n", table.text(),
                     "rewrites within their budget: ", passed, " of ", rewrites.size(), "\n", wrong);
}

}  // namespace

std::string VerifyReport::text() const {
  TextTable table({{"path"},
                   {"layer"},
                   {"output"},
                   {"max abs", Align::right},
                   {"max rel", Align::right},
                   {"max ulp", Align::right},
                   {"nmse", Align::right},
                   {"budget", Align::right},
                   {"share", Align::right},
                   {"excess", Align::right},
                   {"at", Align::right},
                   {"drift", Align::right},
                   {""}});
  const auto worst =
      std::max_element(layers.begin(), layers.end(), [](const auto& a, const auto& b) { return a.isolated.share < b.isolated.share; });
  for (auto layer = layers.begin(); layer != layers.end(); ++layer) {
    const Difference& d = layer->isolated;
    std::string mark = layer->ok() ? "" : "FAIL";
    if (layer->nan + layer->inf > 0) mark += concat_text(mark.empty() ? "" : ", ", layer->nan, " NaN, ", layer->inf, " Inf");
    if (layer == worst && d.share > 0) mark += mark.empty() ? "< worst" : " < worst";
    table.row({layer->path, layer->layer, concat_text(layer->spec), short_number(d.max_abs), short_number(d.max_rel),
               short_number(d.max_ulp), short_number(d.nmse), short_number(d.budget), short_number(d.share), short_number(d.excess),
               std::to_string(d.worst_index), short_number(layer->drift_nmse), mark});
  }
  const auto yes = [](bool ok) { return ok ? "yes" : "NO"; };
  const auto passed = std::count_if(layers.begin(), layers.end(), [](const VerifyLayer& layer) { return layer.ok(); });
  std::string out = concat_text("verify on ", device, ", tf32 ", tf32 ? "on" : "off",
                                "; each layer against the double-precision reference of the same inputs\n", table.text());
  out += concat_text("layers within their budget: ", passed, " of ", layers.size(), ", worst share ", short_number(worst_share),
                     ", output nmse against a whole reference run ", short_number(output_nmse), "\n");
  if (compared_steps == 0) out += "every step ran the reference itself: no layer was compared with anything\n";
  out += concat_text("bit for bit: replay = eager ", yes(replay_equals_eager), ", second replay ", yes(second_replay_equal),
                     ", changed inputs ", yes(changed_inputs_equal), ", first inputs again ", yes(restored_inputs_equal),
                     ", reused memory ", yes(reused_memory_equal), interleaved ? ", interleaved with another batch " : ", interleaved ",
                     yes(interleaved_equal), "\n");
  if (replays > 0) {
    out += concat_text("soak: ", replays, " replays with changing inputs, equal ", yes(replays_equal), ", device memory grew by ",
                       grown_bytes, " bytes\n");
  }
  out += rewrites_text(rewrites);
  if (!first_divergent.empty()) out += "first divergent layer: " + first_divergent + "\n";
  if (!first_non_finite.empty()) {
    out += concat_text("first NaN or Inf: ", first_non_finite,
                       inputs_non_finite > 0 ? concat_text(", of inputs that hold ", inputs_non_finite) : " makes it from finite inputs",
                       "\n");
  }
  if (!first_unequal.empty()) out += "first unequal value: " + first_unequal + "\n";
  return out + (ok() ? "verify: ok\n" : "verify: FAILED\n");
}

std::ostream& operator<<(std::ostream& out, const VerifyReport& report) { return out << report.text(); }

}  // namespace frieze

#include <algorithm>
#include <ostream>

#include <frieze/core/error.h>
#include <frieze/graph/against.h>
#include <frieze/graph/report/text_table.h>

namespace frieze {

std::string AgainstReport::text() const {
  TextTable table({{"output"},
                   {"tensor"},
                   {"largest", Align::right},
                   {"max abs", Align::right},
                   {"max rel", Align::right},
                   {"nmse", Align::right},
                   {"psnr", Align::right},
                   {"share", Align::right},
                   {"at", Align::right},
                   {""}});
  for (const AgainstOutput& output : outputs) {
    const Difference& d = output.difference;
    std::string mark = output.ok() ? "" : "FAIL";
    if (output.nan + output.inf > 0) mark += concat_text(mark.empty() ? "" : ", ", output.nan, " NaN, ", output.inf, " Inf");
    table.row({printable(output.name, 80), concat_text(output.spec), short_number(output.largest), short_number(d.max_abs),
               short_number(d.max_rel), short_number(d.nmse), short_number(output.psnr) + " dB", short_number(d.share),
               std::to_string(d.worst_index), mark});
  }
  const auto passed = std::count_if(outputs.begin(), outputs.end(), [](const AgainstOutput& output) { return output.ok(); });
  std::string from;
  for (const std::string& name : inputs) from += (from.empty() ? "" : ", ") + printable(name, 80);
  std::string out = concat_text("verify against ", file, " on ", device, ", tf32 ", tf32 ? "on" : "off",
                                from.empty() ? "; inputs as they were" : "; inputs from the file: " + from, "\n", table.text());
  out += concat_text("outputs within ", short_number(tolerance), " of their largest magnitude (",
                     tolerance_was_given ? "as asked for" : "from the steps' error budgets", "): ", passed, " of ", outputs.size(), "\n");
  return out + (ok() ? "verify: ok\n" : "verify: FAILED\n");
}

std::ostream& operator<<(std::ostream& out, const AgainstReport& report) { return out << report.text(); }

}  // namespace frieze

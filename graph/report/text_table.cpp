#include <frieze/graph/report/text_table.h>

#include <algorithm>
#include <cstdio>

namespace frieze {

std::string TextTable::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(columns_[c].title.size());
    for (const auto& row : rows_) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  const auto line = [&](auto&& cell) {
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const std::string text = cell(c);
      const std::string blanks(widths[c] - text.size(), ' ');
      if (c > 0) out += "  ";
      out += columns_[c].align == Align::right ? blanks + text : text + blanks;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  line([&](std::size_t c) { return columns_[c].title; });
  line([&](std::size_t c) { return std::string(widths[c], '-'); });
  for (const auto& row : rows_) line([&](std::size_t c) { return row[c]; });
  return out;
}

namespace {
std::string format_number(const char* format, int digits, double v) {
  char buffer[512];  // %f of the largest double takes 309 digits
  std::snprintf(buffer, sizeof buffer, format, digits, v);
  return buffer;
}
}  // namespace

std::string fixed(double v, int digits) { return format_number("%.*f", digits, v); }
std::string short_number(double v) { return format_number("%.*g", 3, v); }
std::string counted(std::int64_t count, const char* singular) {
  const std::string word = singular;
  return std::to_string(count) + " " + word + (count == 1 ? "" : word.ends_with("ch") ? "es" : "s");
}

}  // namespace frieze

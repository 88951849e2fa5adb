#pragma once
/// Aligned text tables and numbers, shared by the reports of graph/. Internal.
#include <cstdint>
#include <string>
#include <vector>

namespace frieze {

enum class Align : std::uint8_t { left, right };

/// Columns as wide as their widest cell, two blanks apart. Cells are UTF-8 free: one byte is one column.
class TextTable {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// As many cells as there are columns.
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Title line, rule, rows; no blanks at line ends.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// printf("%.*f").
std::string fixed(double v, int digits);
/// Three significant digits, as short as they get: "0", "1.25e-07", "inf".
std::string short_number(double v);
/// "1 step", "3 steps", "2 launches".
std::string counted(std::int64_t count, const char* singular);

}  // namespace frieze

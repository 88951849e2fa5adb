#include <frieze/core/chosen_tensors.h>

#include <algorithm>
#include <optional>
#include <set>

#include <frieze/core/error.h>
#include <frieze/core/glob.h>

namespace frieze {
namespace {

constexpr std::size_t kShownNames = 8;

void check_rules(const LoadOptions& options) {
  for (const std::string& pattern : options.ignore) check<OptionError>(!pattern.empty(), "load: ignore: a pattern is empty");
  for (const auto& [from, to] : options.rename) {
    check<OptionError>(!from.empty(), "load: rename: nothing is renamed to ", name_in_quotes(to));
    check<OptionError>(wildcards(to) <= wildcards(from), "load: rename: ", name_in_quotes(to), " has more wildcards than ",
                       name_in_quotes(from));
  }
}

// The name without the prefix, or nullopt if it is not below it.
std::optional<std::string> below(const std::string& prefix, const std::string& name) {
  if (!name.starts_with(prefix) || name.size() == prefix.size()) return std::nullopt;
  return name.substr(prefix.size());
}

// What the names of a file begin with, for the message of a prefix that none has.
std::string beginnings(const Weights& file) {
  std::set<std::string> parts;
  for (const auto& [name, _] : file.tensors()) {
    parts.insert(name.substr(0, name.find('.')));
    if (parts.size() > kShownNames) break;
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + name_in_quotes(part);
  return parts.size() > kShownNames ? text + ", …" : text;
}

// What a rule makes of a name, or nullopt if it does not apply.
std::optional<std::string> renamed(const std::string& from, const std::string& to, const std::string& name) {
  if (wildcards(from) > 0) {
    const auto parts = captures(from, name);
    return parts ? std::optional(with_captures(to, *parts)) : std::nullopt;
  }
  if (name == from) return to;
  if (from.ends_with('.')) return name.starts_with(from) ? std::optional(to + name.substr(from.size())) : std::nullopt;
  if (!name.starts_with(from + ".")) return std::nullopt;
  return to.empty() ? name.substr(from.size() + 1) : to + name.substr(from.size());
}

}  // namespace

std::string name_in_quotes(std::string_view name) { return "'" + printable(name, 120) + "'"; }

ChosenTensors choose_tensors(const Weights& file, const LoadOptions& options) {
  check_rules(options);
  const std::string prefix = options.prefix.empty() || options.prefix.ends_with('.') ? options.prefix : options.prefix + ".";
  std::map<std::string, std::string> names, renamings, ignored;  // name -> the file's
  std::vector<bool> ignores(options.ignore.size()), renames(options.rename.size());
  bool any = prefix.empty();
  for (const auto& [full, _] : file.tensors()) {
    const std::optional<std::string> name = below(prefix, full);
    if (!name) continue;
    any = true;
    const auto pattern =
        std::find_if(options.ignore.begin(), options.ignore.end(), [&](const std::string& p) { return matches(p, *name); });
    if (pattern != options.ignore.end()) {
      ignores[static_cast<std::size_t>(pattern - options.ignore.begin())] = true;
      ignored.emplace(*name, *pattern);
      continue;
    }
    std::string target = *name;
    for (std::size_t i = 0; i < options.rename.size(); ++i) {
      const auto& [from, to] = options.rename[i];
      const std::optional<std::string> made = renamed(from, to, *name);
      if (!made) continue;
      check<WeightsError>(!made->empty(), file.source(), ": rename ", name_in_quotes(from), " to ", name_in_quotes(to), " leaves tensor ",
                          name_in_quotes(*name), " without a name");
      renames[i] = true;
      target = *made;
      if (target != *name) renamings[target] = *name;
      break;
    }
    const auto [other, first] = names.emplace(target, full);
    check<WeightsError>(first, file.source(), ": tensors ", name_in_quotes(other->second), " and ", name_in_quotes(full),
                        " would both be named ", name_in_quotes(target));
  }
  check<WeightsError>(any, file.source(), ": no tensor's name begins with the prefix ", name_in_quotes(prefix), ": the names begin with ",
                      beginnings(file));
  ChosenTensors chosen{file, std::move(renamings), std::move(ignored), {}};
  for (std::size_t i = 0; i < ignores.size(); ++i) {
    if (!ignores[i]) chosen.idle.push_back("ignore " + name_in_quotes(options.ignore[i]));
  }
  for (std::size_t i = 0; i < renames.size(); ++i) {
    if (!renames[i])
      chosen.idle.push_back("rename " + name_in_quotes(options.rename[i].first) + " to " + name_in_quotes(options.rename[i].second));
  }
  if (!prefix.empty() || !options.ignore.empty() || !options.rename.empty()) {
    chosen.weights = file.with_names(names, prefix.empty() ? "" : concat_text(" (below ", name_in_quotes(prefix), ")"));
  }
  return chosen;
}

}  // namespace frieze

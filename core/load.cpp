#include <frieze/core/load.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <frieze/core/chosen_tensors.h>
#include <frieze/core/error.h>
#include <frieze/core/nearest.h>
#include <frieze/core/parallel.h>

namespace frieze {
namespace {

Shape squeezed(const Shape& shape) {
  std::vector<std::int64_t> kept;
  for (const std::int64_t e : shape.extents()) {
    if (e != 1) kept.push_back(e);
  }
  return Shape(kept);
}

bool fits(const Parameter& p, const Shape& found) { return found == p.shape || (p.squeeze && squeezed(found) == squeezed(p.shape)); }

struct Wanted {
  std::string key;
  std::vector<std::string> aliases;
  const Parameter* parameter;
};

// Finds the tensor of every parameter, and tells all that does not fit in one message.
class Matching {
 public:
  Matching(Module& module, const Weights& file, const LoadOptions& options)
      : options_(options), chosen_(choose_tensors(file, options)), weights_(chosen_.weights) {
    std::set<std::string> keys;
    module.visit_parameters([&](const std::string& key, const Parameter& p) {
      Wanted wanted{key, {}, &p};
      for (const std::string& alias : p.aliases) wanted.aliases.push_back(key.substr(0, key.size() - p.name.size()) + alias);
      keys.insert(key);
      keys.insert(wanted.aliases.begin(), wanted.aliases.end());
      wanted_.push_back(std::move(wanted));
    });
    if (options.prefix.empty()) weights_ = without_foreign_prefix(weights_, keys);
  }

  const Weights& weights() const { return weights_; }

  // In the order of the module's parameters.
  std::vector<std::string> tensors() {
    std::vector<std::string> names;
    for (const Wanted& wanted : wanted_) names.push_back(find(wanted));
    for (const auto& [name, tensor] : weights_.tensors()) {
      if (!used_.contains(name)) unused_.push_back(name);
    }
    const bool ok = missing_.empty() && misshapen_.empty() && (unused_.empty() || options_.allow_unused);
    if (!ok) throw WeightsError(weights_.source() + ": " + mismatch());
    return names;
  }

 private:
  static constexpr std::size_t kListed = 5;

  // The tensor for a parameter: of its own name, or of one of its aliases; empty if there is none.
  std::string find(const Wanted& wanted) {
    std::string found;
    if (weights_.contains(wanted.key)) found = wanted.key;
    for (const std::string& alias : wanted.aliases) {
      if (!weights_.contains(alias)) continue;
      check<WeightsError>(found.empty(), weights_.source(), ": both '", found, "' and '", alias, "' are there for the parameter '",
                          wanted.key, "'");
      found = alias;
    }
    if (found.empty()) {
      missing_.push_back(&wanted);
      return found;
    }
    const auto [user, first] = used_.emplace(found, wanted.key);
    check<WeightsError>(first, weights_.source(), ": tensor '", found, "' would fill both '", user->second, "' and '", wanted.key, "'");
    const Shape &shape = weights_.at(found).shape, &expected = wanted.parameter->shape;
    if (!fits(*wanted.parameter, shape)) {
      misshapen_.push_back(concat_text(told(found), " is ", shape, ", ", found == wanted.key ? "" : name_in_quotes(wanted.key) + " ",
                                       "expected ", expected));
    }
    return found;
  }

  // A tensor as its file names it.
  std::string told(const std::string& name) const {
    const auto before = chosen_.renamed.find(name);
    return name_in_quotes(name) + (before == chosen_.renamed.end() ? "" : " (renamed from " + name_in_quotes(before->second) + ")");
  }

  std::string told(const Wanted& wanted) const {
    std::string text = name_in_quotes(wanted.key), ignored;
    for (std::size_t i = 0; i < std::min(kListed, wanted.aliases.size()); ++i)
      text += (i == 0 ? " (or " : ", or ") + name_in_quotes(wanted.aliases[i]);
    if (!wanted.aliases.empty()) text += ")";
    text += concat_text(" ", wanted.parameter->shape);
    if (const auto rule = chosen_.ignored.find(wanted.key); rule != chosen_.ignored.end())
      return text + ", which ignore " + name_in_quotes(rule->second) + " leaves out";
    NearestName nearest(wanted.key);
    for (const std::string& name : unused_) nearest.offer(name, fits(*wanted.parameter, weights_.at(name).shape) ? 0 : 4);
    if (nearest.found().empty()) return text;
    return text + concat_text(", nearest unused name ", name_in_quotes(nearest.found()), " ", weights_.at(nearest.found()).shape);
  }

  template <class Item, class Tell>
  static std::string list(const std::vector<Item>& items, const Tell& tell) {
    std::string text;
    for (std::size_t i = 0; i < std::min(kListed, items.size()); ++i) text += (i == 0 ? ": " : "; ") + tell(items[i]);
    return items.size() > kListed ? concat_text(text, "; and ", items.size() - kListed, " more") : text;
  }

  std::string mismatch() const {
    std::string text;
    const auto part = [&](const std::string& sentence) { text += (text.empty() ? "" : ". ") + sentence; };
    if (!missing_.empty()) {
      part(concat_text("no tensor for ", missing_.size(), " of the model's ", wanted_.size(), " parameters",
                       list(missing_, [&](const Wanted* wanted) { return told(*wanted); })));
    }
    if (!misshapen_.empty()) {
      part(concat_text("another shape than the parameter's in ", misshapen_.size(), " of ", weights_.tensors().size(), " tensors",
                       list(misshapen_, [](const std::string& sentence) { return sentence; })));
    }
    if (!unused_.empty() && !options_.allow_unused) {
      part(concat_text("no parameter for ", unused_.size(), " of ", weights_.tensors().size(), " tensors",
                       list(unused_, [&](const std::string& name) { return concat_text(told(name), " ", weights_.at(name).shape); })));
      const bool counters = std::any_of(unused_.begin(), unused_.end(), [](const std::string& n) { return n.ends_with(kCounter); });
      if (counters) part(concat_text("ignore '*", kCounter, "' leaves the counters of batch norms out"));
    }
    if (!chosen_.idle.empty()) part("no tensor fits" + list(chosen_.idle, [](const std::string& rule) { return rule; }));
    return text;
  }

  static constexpr std::string_view kCounter = ".num_batches_tracked";
  const LoadOptions& options_;
  ChosenTensors chosen_;
  Weights weights_;
  std::vector<Wanted> wanted_;
  std::map<std::string, std::string> used_;  // tensor -> parameter
  std::vector<const Wanted*> missing_;
  std::vector<std::string> misshapen_, unused_;
};

}  // namespace

void load(Module& module, const Weights& file, const LoadOptions& options) {
  Matching matching(module, file, options);
  const std::vector<std::string> tensors = matching.tensors();
  std::vector<std::pair<Parameter*, std::vector<std::string>>> sources;
  module.visit_parameters([&](const std::string&, Parameter& p) { sources.emplace_back(&p, std::vector{tensors[sources.size()]}); });
  fill_parameters(sources, matching.weights(), options);
}

namespace {

void check_finite(const Weights& weights, const std::string& tensor, std::span<const float> values) {
  const auto bad = std::count_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  check<WeightsError>(bad == 0, weights.source(), ": tensor '", printable(tensor), "': ", bad, " of ", values.size(),
                      " values are NaN or Inf in f32");
}

}  // namespace

void fill_parameters(std::span<const std::pair<Parameter*, std::vector<std::string>>> sources, const Weights& weights,
                     const LoadOptions& options) {
  // Everything is read before anything is assigned, so that an error leaves the parameters as they were.
  std::vector<std::vector<float>> filled(sources.size());
  parallel_for(static_cast<std::int64_t>(sources.size()), [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const std::vector<std::string>& names = sources[i].second;
      for (const std::string& name : names) {
        std::vector<float> part = weights.floats(name);
        if (!options.allow_non_finite) check_finite(weights, name, part);
        if (names.size() == 1) {
          filled[i] = std::move(part);
        } else {
          filled[i].insert(filled[i].end(), part.begin(), part.end());
        }
      }
    }
  });
  for (std::size_t i = 0; i < sources.size(); ++i) sources[i].first->values = std::move(filled[i]);
}

}  // namespace frieze

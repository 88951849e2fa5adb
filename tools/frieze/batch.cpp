#include "tools/frieze/batch.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <new>
#include <set>

#include <frieze/core/error.h>

#include "tools/frieze/commands.h"

namespace frieze::tools {
namespace {

namespace fs = std::filesystem;

void tell(const std::string& message) { std::cerr << "frieze: error: " << printable(message, 8000) << std::endl; }

void add_folder(const BatchRequest& request, const fs::path& folder, Batch& batch) {
  const std::string name = printable(folder.string());
  std::vector<std::string> found;
  std::error_code error, unreadable;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with('.') || it->is_directory(unreadable)) continue;
    if (request.is_kind(it->path().string())) {
      found.push_back(it->path().string());
    } else {
      ++batch.skipped;
    }
  }
  check<IoError>(!error, name, ": cannot read the folder: ", error.message());
  check<IoError>(!found.empty(), name, ": no ", request.kinds, " file in this folder");
  std::sort(found.begin(), found.end());
  for (std::string& path : found) batch.files.push_back({std::move(path), {}, {}});
}

// The outputs in a folder: a.jpg's is a.png, or a.jpg.png if another input has a claim to that.
void name_outputs(const BatchRequest& request, const fs::path& folder, Batch& batch) {
  const auto keeps_its_name = [&](const BatchFile& file) { return fs::path(file.in).filename() == fs::path(file.out).filename(); };
  std::map<std::string, int> claims;
  for (BatchFile& file : batch.files) {
    file.out = (folder / (fs::path(file.in).stem().string() + request.made)).string();
    ++claims[file.out];
  }
  for (bool changed = true; changed;) {  // a longer name may be claimed as well
    changed = false;
    const std::map<std::string, int> before = claims;
    for (BatchFile& file : batch.files) {
      const std::string longer = (folder / (fs::path(file.in).filename().string() + request.made)).string();
      if (before.at(file.out) == 1 || file.out == longer || keeps_its_name(file)) continue;
      --claims[file.out], ++claims[longer];
      file.out = longer;
      changed = true;
    }
  }
  std::set<std::string> taken;
  for (const bool kept : {true, false}) {
    for (BatchFile& file : batch.files) {
      if (keeps_its_name(file) != kept || taken.insert(file.out).second) continue;
      file.refused = concat_text(printable(file.in), ": two inputs would be written to ", printable(file.out));
    }
  }
}

// Announces the outputs. What is wrong with one file is kept for its turn.
void announce(const BatchRequest& request, Outputs& outputs, Batch& batch) {
  for (const BatchFile& file : batch.files) outputs.reads(file.in);
  for (BatchFile& file : batch.files) {
    if (file.out.empty() || !file.refused.empty() || batch.new_folder) continue;
    try {
      outputs.writes(file.out, request.in_place ? file.in : std::string());
    } catch (const Error& e) {
      if (!batch.several) throw;
      file.refused = e.what();
    }
  }
}

}  // namespace

std::string lower_ending(const std::string& path) {
  std::string text = fs::path(path).extension().string();
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

Batch list_batch(const BatchRequest& request, Outputs& outputs) {
  Batch batch;
  batch.several = request.in.size() > 1;
  for (const std::string& in : request.in) {
    std::error_code error;
    const fs::file_status status = fs::status(in, error);
    if (fs::is_directory(status)) {
      batch.several = true;
      add_folder(request, in, batch);
    } else {
      batch.files.push_back({in, {}, {}});
      if (!fs::exists(status)) {
        const std::string why = concat_text(printable(in), ": cannot be read: ", error ? error.message() : std::strerror(ENOENT));
        check<IoError>(request.in.size() > 1, why);
        batch.files.back().refused = why;
      }
    }
  }
  if (request.in_place) {
    for (BatchFile& file : batch.files) file.out = file.in;
  } else if (!request.out.empty()) {
    std::error_code error;
    const fs::file_status status = fs::status(request.out, error);
    const bool folder = fs::exists(status) ? fs::is_directory(status) : batch.several;
    check<OptionError>(folder || !batch.several, printable(request.out), ": several inputs need a folder as --out, this is a file");
    for (const std::string& in : request.in) {
      const bool same = folder && fs::is_directory(in, error) && fs::equivalent(in, request.out, error);
      check<IoError>(!same, printable(request.out), ": it is an input folder too, whose files would be written over: name another folder");
    }
    if (folder) {
      name_outputs(request, request.out, batch);
      if (!fs::exists(status)) {
        fs::path made(request.out);
        if (!made.has_filename()) made = made.parent_path();  // "out/"
        check_writable(made);
        outputs.makes_folder(made);
        batch.new_folder = true;
      }
    } else {
      batch.files.front().out = request.out;
    }
  }
  announce(request, outputs, batch);
  return batch;
}

namespace {

// One run over a batch, and what became of its files.
class BatchRun {
 public:
  BatchRun(const Batch& batch, Outputs& outputs, const BatchSteps& steps) : batch_(batch), outputs_(outputs), steps_(steps) {}

  int run() {
    for (std::size_t i = 0; i < batch_.files.size() && !ended_; ++i) {
      BatchKey key;
      const bool read = attempt({&i, 1}, [&] {
        check<IoError>(batch_.files[i].refused.empty(), batch_.files[i].refused);
        key = steps_.read(batch_.files[i], i);
      });
      if (!read) continue;
      Group& group = waiting_[key.key];
      group.files.push_back(i);
      group.bytes += key.bytes;
      bytes_ += key.bytes;
      if (group.files.size() >= steps_.at_once) work_on(key.key);
      while (bytes_ > steps_.most_waiting && !ended_) work_on(largest());
    }
    while (!waiting_.empty() && !ended_) work_on(first());
    const std::size_t files = batch_.files.size(), failed = files - done_;
    if (failed > 0) std::cerr << "frieze: " << failed << " of " << files << " files failed" << std::endl;
    return failed == 0 ? kExitOk : done_ > 0 ? kExitPartly : kExitError;
  }

 private:
  struct Group {
    std::vector<std::size_t> files;
    std::size_t bytes = 0;
  };

  void fails(std::span<const std::size_t> files, const std::string& why) {
    outputs_.discard();
    for (const std::size_t i : files) {
      if (steps_.failed) steps_.failed(i);
    }
    tell(why);
  }

  // False if what was done with these files failed; then it was told, unless they are several, which are to be tried one by one.
  bool attempt(std::span<const std::size_t> files, const std::function<void()>& action) {
    try {
      action();
      return true;
    } catch (const ReportError&) {
      throw;
    } catch (const CudaError& e) {  // a device that failed does no more of them
      if (!batch_.several) throw;
      fails(files, e.what());
      ended_ = true;
    } catch (const Error& e) {
      if (!batch_.several) throw;
      if (files.size() == 1) fails(files, e.what());
    } catch (const std::bad_alloc&) {
      if (!batch_.several) throw;
      if (files.size() == 1) fails(files, printable(batch_.files[files.front()].in) + ": not enough memory");
    }
    return false;
  }

  void work_on(const std::string& key) {
    const auto it = waiting_.find(key);
    const Group group = std::move(it->second);
    waiting_.erase(it);
    bytes_ -= group.bytes;
    const auto work = [&](std::span<const std::size_t> files) { return attempt(files, [&] { steps_.work(files); }); };
    const bool together = work(group.files);
    for (const std::size_t i : group.files) {
      if (ended_) return;
      if (!together && (group.files.size() == 1 || !work({&i, 1}))) continue;
      const bool written = attempt({&i, 1}, [&] {
        steps_.write(batch_.files[i], i);
        outputs_.deliver();
      });
      if (!written) continue;
      ++done_;
      if (steps_.done) steps_.done(i);
    }
  }

  std::string largest() const {
    const auto less = [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; };
    return std::max_element(waiting_.begin(), waiting_.end(), less)->first;
  }
  // The group whose first file comes first.
  std::string first() const {
    const auto less = [](const auto& a, const auto& b) { return a.second.files.front() < b.second.files.front(); };
    return std::min_element(waiting_.begin(), waiting_.end(), less)->first;
  }

  const Batch& batch_;
  Outputs& outputs_;
  const BatchSteps& steps_;
  std::map<std::string, Group> waiting_;  // by key
  std::size_t bytes_ = 0, done_ = 0;
  bool ended_ = false;
};

}  // namespace

int run_batch(const Batch& batch, Outputs& outputs, const BatchSteps& steps) { return BatchRun(batch, outputs, steps).run(); }

int run_batch(const Batch& batch, Outputs& outputs, const std::function<void(const BatchFile&, std::size_t)>& body) {
  BatchSteps steps;
  steps.read = [](const BatchFile&, std::size_t) { return BatchKey(); };
  steps.work = [](std::span<const std::size_t>) {};
  steps.write = body;
  return run_batch(batch, outputs, steps);
}

}  // namespace frieze::tools

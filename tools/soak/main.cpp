// soak [--device D] [--dtype T] [--replays N] [--size S] [--check-every N] [--seconds S] [--threads N] [--seed N] [--json]
// Progress goes to stderr; with --json there is none, and stdout is one object.
// Exit status: 0 no difference and no growth, 1 any of them, 2 an error.
#include <charconv>
#include <cstring>
#include <iostream>

#include <frieze/core/error.h>

#include "tools/soak/soak.h"

namespace {

using namespace frieze;

template <class T>
void read_number(const char* option, std::string_view text, T least, T& out) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out);
  check<OptionError>(status == std::errc() && end == text.data() + text.size() && out >= least, option, ": expected a number of at least ",
                     least, ", got '", text, "'");
}

struct Arguments : soak::Options {
  bool json = false;
};

Arguments parse(int argc, char** argv) {
  Arguments o;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--json") {
      o.json = true;
      --i;  // it has no value
      continue;
    }
    check<OptionError>(i + 1 < argc, option, ": expected a value behind it");
    const std::string_view value = argv[i + 1];
    if (option == "--device") {
      o.device = value;
    } else if (option == "--dtype") {
      o.dtype = parse_float_dtype(value);
    } else if (option == "--replays") {
      read_number<std::int64_t>("--replays", value, 1, o.replays);
    } else if (option == "--size") {
      read_number<std::int64_t>("--size", value, 1, o.size);
    } else if (option == "--check-every") {
      read_number<int>("--check-every", value, 1, o.check_every);
    } else if (option == "--seconds") {
      read_number<double>("--seconds", value, 0, o.seconds);
    } else if (option == "--threads") {
      read_number<int>("--threads", value, 1, o.threads);
    } else if (option == "--seed") {
      read_number<std::uint64_t>("--seed", value, 0, o.seed);
    } else {
      throw OptionError(
          concat_text("unknown option '", option,
                      "': there are --device, --dtype, --replays, --size, --check-every, --seconds, --threads, --seed, --json"));
    }
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments options = parse(argc, argv);
    std::ostream nothing(nullptr);
    std::ostream& log = options.json ? nothing : std::cerr;
    const soak::Outcome out = options.threads > 0 ? soak::threads(options, log) : soak::replay(options, log);
    if (options.json) {
      std::cout << "{\"ok\": " << (out.ok() ? "true" : "false") << ", \"replays\": " << out.replays << ", \"seconds\": " << out.seconds
                << ", \"comparisons\": " << out.comparisons << ", \"differences\": " << out.differences
                << ", \"captures\": " << out.captures << ", \"grown_device\": " << out.grown_device
                << ", \"grown_host\": " << out.grown_host << "}" << std::endl;
      if (!out.first_failure.empty()) std::cerr << "first failure: " << out.first_failure << std::endl;
      return out.ok() ? 0 : 1;
    }
    std::cout << out.replays << " replays in " << out.seconds << " s, " << out.comparisons << " comparisons, " << out.differences
              << " differences, " << out.captures << " captures beside them, growth: device " << out.grown_device << " bytes, host "
              << out.grown_host << " bytes\n";
    if (!out.first_failure.empty()) std::cout << "first failure: " << out.first_failure << '\n';
    std::cout << (out.ok() ? "soak: ok" : "soak: FAILED") << std::endl;
    return out.ok() ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "soak: error: " << e.what() << std::endl;
    return 2;
  }
}

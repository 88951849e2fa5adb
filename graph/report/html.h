#pragma once
/// One self-contained page about a session: where a replay's time goes, the error budget, the memory, what was captured.
#include <string>

#include <frieze/graph/against.h>
#include <frieze/graph/profile.h>
#include <frieze/graph/verify.h>

namespace frieze {

struct HtmlReport {
  std::string title;                       ///< "denoiser, 512x384 bf16"
  const Session* session = nullptr;        ///< plan, memory and receipt; alive during the call
  const ProfileReport* profile = nullptr;  ///< of that session, or none
  const VerifyReport* verify = nullptr;    ///< or none: a page with a profile says how to get it
  const AgainstReport* against = nullptr;  ///< or none
};

/// HTML with its styles and pictures inside: nothing is loaded, no script runs, and a policy in its head forbids both. Light and dark as
/// the reader's system is; fit for printing. Text from outside (names of a model's modules, a device's name) is escaped.
std::string html_report(const HtmlReport& report);

/// `text` as HTML text or attribute; what is not printable is written as \xNN.
std::string html_escape(std::string_view text);

}  // namespace frieze

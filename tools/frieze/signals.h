#pragma once
/// What a stopped command leaves: nothing that is not whole.

namespace frieze::tools {

/// From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT remove the temporaries of this process before they end it; those that are ignored stay
/// ignored. SIGPIPE and SIGXFSZ are ignored: they are errors of write().
void install_signal_handlers();

/// Such a signal then also removes this folder, if it is empty; null: none. The text must stay as it is until the next call.
void take_back_when_stopped(const char* folder);

/// Puts /dev/null where standard input, output or error is closed, so that no file that is opened gets such a number and is written to by
/// accident; standard output cannot be written to then.
void fill_closed_descriptors();

/// While one lives, such a signal waits: files that belong together are being renamed.
class HoldSignals {
 public:
  HoldSignals();
  ~HoldSignals();
  HoldSignals(const HoldSignals&) = delete;
  HoldSignals& operator=(const HoldSignals&) = delete;
};

}  // namespace frieze::tools

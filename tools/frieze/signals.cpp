#include "tools/frieze/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

#include <frieze/core/output_file.h>

namespace frieze::tools {
namespace {

std::atomic<int> held{0};     // HoldSignals that there are
std::atomic<int> waiting{0};  // a signal that came meanwhile
std::atomic<const char*> folder_made{nullptr};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<const char*>::is_always_lock_free, "used in a signal handler");

void stop(int signal) {
  if (held > 0) {
    waiting = signal;
    return;
  }
  remove_temporaries();
  if (const char* folder = folder_made) ::rmdir(folder);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

}  // namespace

void install_signal_handlers() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction before = {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;  // nohup, a job in the background
    struct sigaction action = {};
    action.sa_handler = stop;
    ::sigfillset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

void take_back_when_stopped(const char* folder) { folder_made = folder; }

void fill_closed_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest number that is free is the one that is given.
    if (::fcntl(fd, F_GETFD) < 0) (void)!::open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

HoldSignals::HoldSignals() { ++held; }
HoldSignals::~HoldSignals() {
  if (--held == 0 && waiting != 0) stop(waiting);
}

}  // namespace frieze::tools

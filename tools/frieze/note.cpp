#include "tools/frieze/note.h"

#include <iostream>

#include <frieze/core/error.h>

namespace frieze::tools {

void tell_note(const std::string& note) {
  if (!note.empty()) std::cerr << "frieze: note: " << printable(note) << std::endl;
}

}  // namespace frieze::tools

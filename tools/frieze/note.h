#pragma once
/// Notes for the user that are no error.
#include <string>

namespace frieze::tools {

/// One line on stderr; nothing if `note` is empty.
void tell_note(const std::string& note);

}  // namespace frieze::tools

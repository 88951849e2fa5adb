#include <frieze/core/size2d.h>

#include <ostream>

namespace frieze {

std::ostream& operator<<(std::ostream& out, const Size2d& size) {
  out << size.h;
  return size.h == size.w ? out : out << 'x' << size.w;
}

}  // namespace frieze

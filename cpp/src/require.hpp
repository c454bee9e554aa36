// Checking the numbers of a tracker spec. Internal to the library.
#pragma once

#include <sstream>

#include "edgetrack/error.hpp"

namespace edgetrack {

// Throws ArtifactError, naming the entry, its value and what is right, unless it is fine.
inline void require(bool fine, const char* name, double value, const char* expected) {
  if (fine) return;
  std::ostringstream message;
  message << "tracker spec: " << name << " is " << value << "; it must be " << expected;
  throw ArtifactError(message.str());
}

}  // namespace edgetrack

// Tracker specs from Python: the "tracker" object of a manifest.
#pragma once

#include <pybind11/pybind11.h>

#include "edgetrack/fartrack.hpp"

namespace edgetrack::python {

// Returns the spec that a FARTrack manifest's "tracker" object describes. Throws ArtifactError, naming the
// key, for an entry that is missing, unknown or of the wrong type or kind.
FarTrackSpec fartrack_spec(const pybind11::dict& tracker);

}  // namespace edgetrack::python

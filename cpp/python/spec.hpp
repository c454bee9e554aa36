// Tracker specs from Python: the "tracker" object of a manifest.
#pragma once

#include <pybind11/pybind11.h>

#include "edgetrack/centre_head.hpp"
#include "edgetrack/fartrack.hpp"
#include "edgetrack/mvlm.hpp"

namespace edgetrack::python {

// Each returns the spec that the "tracker" object of a manifest of its family describes. Throws ArtifactError, naming
// the key, for an entry that is missing, unknown or of the wrong type or kind.
FarTrackSpec fartrack_spec(const pybind11::dict& tracker);
CentreHeadSpec centre_head_spec(const pybind11::dict& tracker);
MvlmSpec mvlm_spec(const pybind11::dict& tracker);

}  // namespace edgetrack::python

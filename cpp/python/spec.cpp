#include "spec.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "edgetrack/error.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

// One JSON object of the spec. It remembers which keys were read, so that a misspelt one does not go
// unnoticed.
class Section {
 public:
  Section(py::dict object, std::string path) : object_(std::move(object)), path_(std::move(path)) {}

  py::object value(const char* key) {
    read_.insert(key);
    if (!object_.contains(key)) throw ArtifactError("tracker spec: " + name(key) + " is missing; " + remedy);
    return object_[key];
  }

  Section section(const char* key) {
    const py::object found = value(key);
    if (!py::isinstance<py::dict>(found)) throw wrong(key, found, "an object");
    return {found, name(key) + "."};
  }

  std::string text(const char* key) {
    const py::object found = value(key);
    if (!py::isinstance<py::str>(found)) throw wrong(key, found, "a string");
    return found.cast<std::string>();
  }

  // Requires the one value that this tracker implements.
  void only(const char* key, const char* expected) {
    const py::object found = value(key);
    if (!py::isinstance<py::str>(found) || found.cast<std::string>() != expected) {
      throw wrong(key, found, "'" + std::string(expected) + "'");
    }
  }

  bool flag(const char* key) {
    const py::object found = value(key);
    if (!py::isinstance<py::bool_>(found)) throw wrong(key, found, "true or false");
    return found.cast<bool>();
  }

  int integer(const char* key) {
    const py::object found = value(key);
    if (!py::isinstance<py::int_>(found) || py::isinstance<py::bool_>(found)) throw wrong(key, found, "a whole number");
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(found.ptr(), &overflow);
    if (overflow != 0 || number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) {
      throw wrong(key, found, "a whole number that fits 32 bits");
    }
    return static_cast<int>(number);
  }

  double number(const char* key) { return number_of(value(key), key); }

  std::array<float, 3> triple(const char* key) {
    const py::object found = value(key);
    const bool listed = py::isinstance<py::list>(found) || py::isinstance<py::tuple>(found);
    if (!listed || py::len(found) != 3) throw wrong(key, found, "a list of three numbers");
    std::array<float, 3> out{};
    for (std::size_t i = 0; i < 3; ++i) out[i] = static_cast<float>(number_of(found[py::int_(i)], key));
    return out;
  }

  // Throws for a key that nobody asked for.
  void finish() const {
    for (const auto& item : object_) {
      const auto key = py::str(item.first).cast<std::string>();
      if (read_.count(key) == 0) throw ArtifactError("tracker spec: " + path_ + key + " is not known; " + remedy);
    }
  }

  ArtifactError wrong(const char* key, const py::object& found, const std::string& expected) const {
    return ArtifactError("tracker spec: " + name(key) + " is " + py::repr(found).cast<std::string>() + " where " +
                         expected + " is expected; " + remedy);
  }

 private:
  static constexpr const char* remedy = "export the artifact again with this version";

  std::string name(const char* key) const { return path_ + key; }

  double number_of(const py::object& found, const char* key) const {
    const bool numeric = py::isinstance<py::float_>(found) || py::isinstance<py::int_>(found);
    if (!numeric || py::isinstance<py::bool_>(found)) throw wrong(key, found, "a number");
    const double number = PyFloat_AsDouble(found.ptr());
    const bool overflow = PyErr_Occurred() != nullptr;  // an int beyond any float
    if (overflow) PyErr_Clear();
    if (overflow || !std::isfinite(number)) throw wrong(key, found, "a finite number");
    return number;
  }

  py::dict object_;
  std::string path_;
  std::set<std::string> read_;
};

void read_crops(Section& root, FarTrackSpec& spec) {
  Section templates = root.section("template");
  spec.template_size = templates.integer("size");
  spec.template_factor = templates.number("factor");
  spec.tokens = templates.integer("tokens");
  spec.channels = templates.integer("channels");
  if (templates.integer("slots") != template_slot_count) {
    throw templates.wrong("slots", templates.value("slots"), std::to_string(template_slot_count));
  }
  templates.finish();
  Section search = root.section("search");
  spec.search_size = search.integer("size");
  spec.search_factor = search.number("factor");
  search.finish();
}

void read_decode(Section decode, FarTrackSpec& spec) {
  decode.only("kind", "bins");
  spec.decode.bins = decode.integer("bins");
  spec.decode.range = decode.integer("range");
  spec.decode.classes = decode.integer("classes");
  spec.decode.expectation = decode.flag("expectation");
  decode.finish();
}

void read_templates(Section templates, FarTrackSpec& spec) {
  templates.only("sampling", "exponential");
  const std::string early = templates.text("early");
  if (early != "shift" && early != "distill") {
    throw templates.wrong("early", templates.value("early"), "'shift' or 'distill'");
  }
  spec.early = early == "distill" ? EarlySlots::distill : EarlySlots::shift;
  spec.prune = templates.integer("prune");
  templates.finish();
}

void read_memory(Section memory, FarTrackSpec& spec) {
  const double limit_mib = memory.number("limit_mib");
  // A million MiB is past any machine this runs on, and far from overflow.
  if (limit_mib <= 0 || limit_mib > 1e6) {
    throw memory.wrong("limit_mib", memory.value("limit_mib"), "a number above 0 and up to 1000000");
  }
  spec.memory_limit_bytes = static_cast<std::size_t>(limit_mib * 1024 * 1024);
  memory.finish();
}

void read_score(Section score, FarTrackSpec& spec) {
  score.only("kind", "bin-mass");
  spec.score_radius = score.integer("radius");
  spec.score.uncertain_below = score.number("uncertain_below");
  spec.score.lost_below = score.number("lost_below");
  if (!score.value("calibration").is_none()) {
    Section calibration = score.section("calibration");
    spec.score.calibration = Calibration{calibration.number("slope"), calibration.number("intercept")};
    calibration.finish();
  }
  score.finish();
}

}  // namespace

FarTrackSpec fartrack_spec(const py::dict& tracker) {
  FarTrackSpec spec;
  Section root(tracker, "");
  root.only("family", "fartrack");
  root.only("color", "rgb");
  spec.mean = root.triple("mean");
  spec.stddev = root.triple("std");
  read_crops(root, spec);
  read_decode(root.section("decode"), spec);
  read_templates(root.section("templates"), spec);
  read_memory(root.section("memory"), spec);
  spec.clip_margin_px = root.number("clip_margin_px");
  read_score(root.section("score"), spec);
  root.finish();
  return spec;
}

}  // namespace edgetrack::python

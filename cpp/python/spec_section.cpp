#include "spec_section.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace edgetrack::python {
namespace {

namespace py = pybind11;

constexpr const char* remedy = "export the artifact again with this version";

}  // namespace

py::object Section::value(const char* key) {
  read_.insert(key);
  if (!object_.contains(key)) throw ArtifactError("tracker spec: " + name(key) + " is missing; " + remedy);
  return object_[key];
}

Section Section::section(const char* key) {
  const py::object found = value(key);
  if (!py::isinstance<py::dict>(found)) throw wrong(key, found, "an object");
  return {found, name(key) + "."};
}

std::string Section::text(const char* key) {
  const py::object found = value(key);
  if (!py::isinstance<py::str>(found)) throw wrong(key, found, "a string");
  return found.cast<std::string>();
}

void Section::only(const char* key, const char* expected) {
  const py::object found = value(key);
  if (!py::isinstance<py::str>(found) || found.cast<std::string>() != expected) {
    throw wrong(key, found, "'" + std::string(expected) + "'");
  }
}

bool Section::flag(const char* key) {
  const py::object found = value(key);
  if (!py::isinstance<py::bool_>(found)) throw wrong(key, found, "true or false");
  return found.cast<bool>();
}

int Section::integer(const char* key) {
  const py::object found = value(key);
  if (!py::isinstance<py::int_>(found) || py::isinstance<py::bool_>(found)) throw wrong(key, found, "a whole number");
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(found.ptr(), &overflow);
  if (overflow != 0 || number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) {
    throw wrong(key, found, "a whole number that fits 32 bits");
  }
  return static_cast<int>(number);
}

double Section::number(const char* key) { return number_of(value(key), key); }

std::array<float, 3> Section::triple(const char* key) {
  const py::object found = value(key);
  const bool listed = py::isinstance<py::list>(found) || py::isinstance<py::tuple>(found);
  if (!listed || py::len(found) != 3) throw wrong(key, found, "a list of three numbers");
  std::array<float, 3> out{};
  for (std::size_t i = 0; i < 3; ++i) out[i] = static_cast<float>(number_of(found[py::int_(i)], key));
  return out;
}

std::vector<std::string> Section::names(const char* key) {
  const py::object found = value(key);
  const auto expected = [&] { return wrong(key, found, "a list of different names"); };
  if (!py::isinstance<py::list>(found) && !py::isinstance<py::tuple>(found)) throw expected();
  std::vector<std::string> out;
  for (const py::handle item : found) {
    if (!py::isinstance<py::str>(item)) throw expected();
    auto name = item.cast<std::string>();
    if (std::find(out.begin(), out.end(), name) != out.end()) throw expected();
    out.push_back(std::move(name));
  }
  return out;
}

void Section::finish() const {
  for (const auto& item : object_) {
    const auto key = py::str(item.first).cast<std::string>();
    if (read_.count(key) == 0) throw ArtifactError("tracker spec: " + path_ + key + " is not known; " + remedy);
  }
}

ArtifactError Section::wrong(const char* key, const py::object& found, const std::string& expected) const {
  return ArtifactError("tracker spec: " + name(key) + " is " + py::repr(found).cast<std::string>() + " where " +
                       expected + " is expected; " + remedy);
}

double Section::number_of(const py::object& found, const char* key) const {
  const bool numeric = py::isinstance<py::float_>(found) || py::isinstance<py::int_>(found);
  if (!numeric || py::isinstance<py::bool_>(found)) throw wrong(key, found, "a number");
  const double number = PyFloat_AsDouble(found.ptr());
  const bool overflow = PyErr_Occurred() != nullptr;  // an int beyond any float
  if (overflow) PyErr_Clear();
  if (overflow || !std::isfinite(number)) throw wrong(key, found, "a finite number");
  return number;
}

void read_frames(Section& root, LoopSpec& spec) {
  root.only("color", "rgb");
  spec.mean = root.triple("mean");
  spec.stddev = root.triple("std");
  spec.clip_margin_px = root.number("clip_margin_px");
}

void read_template(Section& templates, LoopSpec& spec) {
  spec.template_size = templates.integer("size");
  spec.template_factor = templates.number("factor");
}

void read_search(Section& root, LoopSpec& spec) {
  Section search = root.section("search");
  spec.search_size = search.integer("size");
  spec.search_factor = search.number("factor");
  search.finish();
}

void read_rule(Section& score, ScoreRule& rule) {
  rule.uncertain_below = score.number("uncertain_below");
  rule.lost_below = score.number("lost_below");
  if (score.value("calibration").is_none()) return;
  Section calibration = score.section("calibration");
  rule.calibration = Calibration{calibration.number("slope"), calibration.number("intercept")};
  calibration.finish();
}

}  // namespace edgetrack::python

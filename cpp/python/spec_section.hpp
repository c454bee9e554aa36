// Strict reading of a tracker spec from Python.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "edgetrack/crop_loop.hpp"
#include "edgetrack/error.hpp"

namespace edgetrack::python {

// One JSON object of the spec. Each reader throws ArtifactError, naming the key and what is right, for an entry that
// is missing or of another type. It remembers which keys were read, so that a misspelt one does not go unnoticed.
class Section {
 public:
  Section(pybind11::dict object, std::string path) : object_(std::move(object)), path_(std::move(path)) {}

  pybind11::object value(const char* key);
  Section section(const char* key);
  std::string text(const char* key);
  void only(const char* key, const char* expected);  // requires the one value that this tracker implements
  bool flag(const char* key);
  int integer(const char* key);
  double number(const char* key);
  std::array<float, 3> triple(const char* key);
  std::vector<std::string> names(const char* key);  // a list of different strings
  bool has(const char* key) const { return object_.contains(key); }

  // Throws for a key that nobody asked for.
  void finish() const;

  ArtifactError wrong(const char* key, const pybind11::object& found, const std::string& expected) const;

 private:
  std::string name(const char* key) const { return path_ + key; }
  double number_of(const pybind11::object& found, const char* key) const;

  pybind11::dict object_;
  std::string path_;
  std::set<std::string> read_;
};

// Each reads what every family has in one place of the spec; the caller reads the rest of that object and finishes it.
void read_frames(Section& root, LoopSpec& spec);         // color, mean, std, clip_margin_px
void read_template(Section& templates, LoopSpec& spec);  // size, factor
void read_search(Section& root, LoopSpec& spec);         // the object "search"
void read_rule(Section& score, ScoreRule& rule);         // calibration, uncertain_below, lost_below

}  // namespace edgetrack::python

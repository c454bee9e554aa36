#include "spec.hpp"

#include <cstddef>
#include <string>

#include "spec_section.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

void read_template(Section templates, FarTrackSpec& spec) {
  read_template(templates, static_cast<LoopSpec&>(spec));
  spec.tokens = templates.integer("tokens");
  spec.channels = templates.integer("channels");
  if (templates.integer("slots") != template_slot_count) {
    throw templates.wrong("slots", templates.value("slots"), std::to_string(template_slot_count));
  }
  templates.finish();
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
  read_rule(score, spec.score);
  score.finish();
}

void read_template(Section templates, CentreHeadSpec& spec) {
  read_template(templates, static_cast<LoopSpec&>(spec));
  templates.finish();
}

void read_decode(Section decode, CentreHeadSpec& spec) {
  decode.only("kind", "centre");
  decode.only("window", "hann");
  spec.grid = decode.integer("grid");
  if (decode.has("divisor")) {
    spec.divisor = decode.integer("divisor");
    if (spec.divisor < 1) throw decode.wrong("divisor", decode.value("divisor"), "1 or more");
  }
  decode.finish();
}

void read_score(Section score, CentreHeadSpec& spec) {
  score.only("kind", "peak");
  read_rule(score, spec.score);
  score.finish();
}

void read_template(Section templates, MvlmSpec& spec) {
  read_template(templates, static_cast<LoopSpec&>(spec));
  spec.template_tokens = templates.integer("tokens");
  spec.templates = templates.integer("count");
  if (spec.templates < 1) throw templates.wrong("count", templates.value("count"), "1 or more");
  Section update = templates.section("update");
  spec.update_interval = update.integer("interval");
  spec.update_above = update.number("above");
  update.finish();
  templates.finish();
}

void read_text(Section text, MvlmSpec& spec) {
  spec.text_tokens = text.integer("tokens");
  spec.channels = text.integer("channels");
  text.finish();
}

void read_decode(Section decode, MvlmSpec& spec) {
  decode.only("kind", "candidates");
  spec.grid = decode.integer("grid");
  decode.finish();
}

void read_gate(Section gate, GateSpec& spec) {
  spec.alpha = gate.number("alpha");
  spec.tau = gate.number("tau");
  spec.omega = gate.number("omega");
  spec.lambda = gate.number("lam");
  spec.psi = gate.number("psi");
  gate.finish();
}

void read_score(Section score, MvlmSpec& spec) {
  score.only("kind", "margin");
  read_rule(score, spec.score);
  score.finish();
}

}  // namespace

FarTrackSpec fartrack_spec(const py::dict& tracker) {
  FarTrackSpec spec;
  Section root(tracker, "");
  root.only("family", "fartrack");
  read_frames(root, spec);
  read_template(root.section("template"), spec);
  read_search(root, spec);
  read_decode(root.section("decode"), spec);
  read_templates(root.section("templates"), spec);
  read_memory(root.section("memory"), spec);
  read_score(root.section("score"), spec);
  root.finish();
  return spec;
}

MvlmSpec mvlm_spec(const py::dict& tracker) {
  MvlmSpec spec;
  Section root(tracker, "");
  root.only("family", "mvlm");
  read_frames(root, spec);
  if (!root.value("template").is_none()) read_template(root.section("template"), spec);
  read_search(root, spec);
  read_text(root.section("text"), spec);
  read_decode(root.section("decode"), spec);
  read_gate(root.section("gate"), spec.gate);
  read_score(root.section("score"), spec);
  root.finish();
  return spec;
}

CentreHeadSpec centre_head_spec(const py::dict& tracker) {
  CentreHeadSpec spec;
  Section root(tracker, "");
  root.only("family", "centre-head");
  read_frames(root, spec);
  read_template(root.section("template"), spec);
  read_search(root, spec);
  read_decode(root.section("decode"), spec);
  if (root.has("told")) spec.told = root.names("told");
  read_score(root.section("score"), spec);
  root.finish();
  return spec;
}

}  // namespace edgetrack::python

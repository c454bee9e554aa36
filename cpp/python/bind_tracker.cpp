// Python's State, Graph and FarTracker.
#include <pybind11/native_enum.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "edgetrack/error.hpp"
#include "edgetrack/fartrack.hpp"
#include "numpy_image.hpp"
#include "spec.hpp"

namespace edgetrack::python {
namespace {

namespace py = pybind11;

using Quad = std::tuple<double, double, double, double>;

Quad quad_of(const Box& box) { return {box.x, box.y, box.w, box.h}; }

Box box_of(const py::object& box) {
  try {
    const auto [x, y, w, h] = box.cast<Quad>();
    return {x, y, w, h};
  } catch (const py::cast_error&) {
    throw InputError("the box is " + py::repr(box).cast<std::string>() + "; pass four numbers (x, y, w, h)");
  }
}

// A graph whose buffers are numpy arrays and whose run() is a Python callable; keeps all of them alive.
class PyGraph final : public Graph {
 public:
  PyGraph(const py::dict& inputs, const py::dict& outputs, py::function run)
      : inputs_(buffers(inputs, "input")), outputs_(buffers(outputs, "output")), run_(std::move(run)) {}

  Tensor input(std::string_view name) override { return find(inputs_, name, "input"); }
  Tensor output(std::string_view name) override { return find(outputs_, name, "output"); }
  bool has_output(std::string_view name) const override { return outputs_.find(name) != outputs_.end(); }

  // Called without the GIL; a Python exception travels through the core as py::error_already_set.
  void run() override {
    const py::gil_scoped_acquire gil;
    run_();
  }

 private:
  using Buffers = std::map<std::string, py::array_t<float>, std::less<>>;

  static Buffers buffers(const py::dict& arrays, const std::string& kind) {
    Buffers out;
    for (const auto& [key, value] : arrays) {
      const auto name = py::str(key).cast<std::string>();
      // array_t with the plain flag accepts float32 of native byte order only, and any strides.
      const bool is_float = py::isinstance<py::array_t<float, 0>>(value);
      if (!is_float || !contiguous(py::reinterpret_borrow<py::array>(value))) {
        throw InputError(kind + " '" + name + "' is " + described(value) +
                         "; pass a C-contiguous, writable numpy array of float32");
      }
      out.emplace(name, py::reinterpret_borrow<py::array_t<float>>(value));
    }
    return out;
  }

  static bool contiguous(const py::array& array) {
    constexpr int needed = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                           py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return (array.flags() & needed) == needed;
  }

  static std::string described(const py::handle& value) {
    if (!py::isinstance<py::array>(value))
      return "a " + py::str(py::type::of(value).attr("__name__")).cast<std::string>();
    const auto array = py::reinterpret_borrow<py::array>(value);
    const std::string dtype = py::str(array.dtype()).cast<std::string>();
    return "an array of " + dtype + (array.writeable() ? "" : ", read-only") +
           (contiguous(array) ? "" : ", not laid out plainly");
  }

  static Tensor find(Buffers& buffers, std::string_view name, const std::string& kind) {
    const auto found = buffers.find(name);
    if (found == buffers.end()) {
      std::string known;
      for (const auto& [other, array] : buffers) known += (known.empty() ? "" : ", ") + other;
      throw ArtifactError("the graph has no " + kind + " '" + std::string(name) + "' (it has: " + known +
                          "); export the artifact again");
    }
    py::array_t<float>& array = found->second;
    return {array.mutable_data(), {array.shape(), array.shape() + array.ndim()}};
  }

  Buffers inputs_;
  Buffers outputs_;
  py::function run_;
};

// The Python face of FarTracker. Small values are copied after every call, with the GIL held, so that another
// thread (a display, say) may read them while a frame is being tracked; everything else needs the tracker to
// itself.
class PyFarTracker {
 public:
  PyFarTracker(const py::dict& spec, std::shared_ptr<PyGraph> template_graph, std::shared_ptr<PyGraph> first,
               std::shared_ptr<PyGraph> search)
      : core_(fartrack_spec(spec), std::move(template_graph), std::move(first), std::move(search)) {
    publish();
  }

  void init(const py::object& frame, const py::object& box, const std::string& color) {
    const Lease lease(busy_);
    const ImageView view = view_of(frame, color);
    const Box start = box_of(box);
    {
      const py::gil_scoped_release release;
      core_.init(view, start);
    }
    publish();
  }

  std::pair<bool, Quad> update(const py::object& frame, const std::string& color) {
    const Lease lease(busy_);
    const ImageView view = view_of(frame, color);
    Result result;
    {
      const py::gil_scoped_release release;
      result = core_.update(view);
    }
    publish();
    return {result.ok, quad_of(result.box)};
  }

  void reset() {
    const Lease lease(busy_);
    core_.reset();
    publish();
  }

  void set_state(const py::object& box) {
    const Lease lease(busy_);
    core_.set_state(box_of(box));
    publish();
  }

  // None before the first network call.
  std::optional<py::array_t<float>> logits() {
    const Lease lease(busy_);
    if (core_.logits() == nullptr) return std::nullopt;
    return py::array_t<float>({4, core_.spec().decode.classes}, core_.logits());
  }

  std::optional<py::array_t<bool>> mask() {
    const Lease lease(busy_);
    const auto& kept = core_.mask();
    if (kept.empty()) return std::nullopt;
    py::array_t<bool> out(static_cast<py::ssize_t>(kept.size()));
    std::transform(kept.begin(), kept.end(), out.mutable_data(), [](unsigned char k) { return k != 0; });
    return out;
  }

  py::dict timings_ms() const {
    py::dict out;
    out["crop"] = seen_.timings.crop_ms;
    out["run"] = seen_.timings.run_ms;
    out["decode"] = seen_.timings.decode_ms;
    out["memory"] = seen_.timings.memory_ms;
    out["total"] = seen_.timings.total_ms;
    return out;
  }

  py::dict memory() const {
    py::dict out;
    out["templates"] = seen_.templates;
    out["stride"] = seen_.stride;
    out["limit_bytes"] = core_.memory().limit_bytes();
    out["used_bytes"] = seen_.used_bytes;
    out["exact_frames"] = core_.memory().exact_frames();
    return out;
  }

  double score() const { return seen_.result.score; }
  State state() const { return seen_.result.state; }
  Quad box() const { return quad_of(seen_.result.box); }
  Quad raw_box() const { return quad_of(seen_.raw_box); }
  double raw_score() const { return seen_.raw_score; }
  std::int64_t frame_index() const { return seen_.frame_index; }
  std::vector<std::int64_t> slots() const { return {seen_.slots.begin(), seen_.slots.end()}; }

 private:
  // Holds the tracker for one call; a second caller gets an error instead of torn memory.
  class Lease {
   public:
    explicit Lease(std::atomic_flag& busy) : busy_(busy) {
      if (busy_.test_and_set(std::memory_order_acquire)) {
        throw InputError(
            "the tracker is used from two threads at once, or from inside its own engine; give each "
            "thread a tracker of its own, or take turns with a lock");
      }
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { busy_.clear(std::memory_order_release); }

   private:
    std::atomic_flag& busy_;
  };

  struct Seen {
    Result result;
    Timings timings;
    Box raw_box;
    double raw_score = 0;
    std::int64_t frame_index = 0;
    std::array<std::int64_t, template_slot_count> slots{};
    std::size_t templates = 0;
    std::int64_t stride = 1;
    std::size_t used_bytes = 0;
  };

  void publish() {
    const TemplateMemory& memory = core_.memory();
    seen_ = {core_.result(), core_.timings(), core_.raw_box(), core_.raw_score(),  core_.frame_index(),
             core_.slots(),  memory.stored(), memory.stride(), memory.used_bytes()};
  }

  FarTracker core_;
  Seen seen_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
};

constexpr const char* tracker_doc = "FARTrack's tracking loop over three compiled graphs.";

}  // namespace

void init_tracker(py::module_& module) {
  py::native_enum<State>(module, "State", "enum.IntEnum", "How far a result can be trusted.")
      .value("TRACKING", State::tracking)
      .value("UNCERTAIN", State::uncertain)
      .value("LOST", State::lost)
      .finalize();

  py::class_<PyGraph, std::shared_ptr<PyGraph>>(module, "Graph", py::is_final(),
                                                "One compiled network at fixed shapes.")
      .def(py::init<const py::dict&, const py::dict&, py::function>(), py::arg("inputs"), py::arg("outputs"),
           py::arg("run"));

  py::class_<PyFarTracker>(module, "FarTracker", py::is_final(), tracker_doc)
      .def(py::init<const py::dict&, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>, std::shared_ptr<PyGraph>>(),
           py::arg("spec"), py::arg("template"), py::arg("first"), py::arg("search"))
      .def("init", &PyFarTracker::init, py::arg("frame"), py::arg("box"), py::arg("color") = "bgr")
      .def("update", &PyFarTracker::update, py::arg("frame"), py::arg("color") = "bgr")
      .def("reset", &PyFarTracker::reset)
      .def("set_state", &PyFarTracker::set_state, py::arg("box"))
      .def_property_readonly("score", &PyFarTracker::score)
      .def_property_readonly("state", &PyFarTracker::state)
      .def_property_readonly("box", &PyFarTracker::box)
      .def_property_readonly("raw_box", &PyFarTracker::raw_box)
      .def_property_readonly("raw_score", &PyFarTracker::raw_score)
      .def_property_readonly("frame_index", &PyFarTracker::frame_index)
      .def_property_readonly("slots", &PyFarTracker::slots)
      .def_property_readonly("timings_ms", &PyFarTracker::timings_ms)
      .def_property_readonly("memory", &PyFarTracker::memory)
      .def_property_readonly("logits", &PyFarTracker::logits)
      .def_property_readonly("mask", &PyFarTracker::mask);
}

}  // namespace edgetrack::python

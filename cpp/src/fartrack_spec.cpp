#include "edgetrack/fartrack.hpp"
#include "require.hpp"

namespace edgetrack {
namespace {

// Far above any model; it keeps sizes in bytes from overflowing.
constexpr int most_tokens = 1 << 16;
constexpr int most_channels = 1 << 16;

}  // namespace

void check(const FarTrackSpec& spec) {
  check(static_cast<const LoopSpec&>(spec));
  check(spec.decode);
  require(spec.tokens > 0 && spec.tokens <= most_tokens, "template.tokens", spec.tokens, "1 to 65536");
  require(spec.channels > 0 && spec.channels <= most_channels, "template.channels", spec.channels, "1 to 65536");
  require(spec.prune >= 0 && spec.prune < spec.tokens, "templates.prune", spec.prune,
          "at least 0 and less than template.tokens");
  require(spec.prune == 0 || spec.early == EarlySlots::shift, "templates.prune", spec.prune,
          "0 where templates.early is 'distill', which shows the newest template in a slot for pruned ones");
  require(spec.score_radius >= 0, "score.radius", spec.score_radius, "0 or more");
}

}  // namespace edgetrack

// Network outputs to numbers: coordinate bins, confidences, and which template tokens to keep.
#pragma once

#include <array>

namespace edgetrack {

// Four coordinates read from categorical distributions, in the order x1, y1, x2, y2.
struct BinDecode {
  std::array<float, 4> corners{};      // normalised to the search crop: 0..1 spans it
  std::array<int, 4> argmax{};         // winning class, special classes included
  std::array<float, 4> probability{};  // its softmax probability over all classes
  bool finite = true;                  // false: a logit is NaN or infinite, and all of the above is meaningless
};

// How coordinate bins are laid out.
struct BinLayout {
  int bins = 300;           // bins per crop side
  int range = 2;            // crop sides spanned, centred on the crop
  int classes = 605;        // logits per coordinate, special classes included
  bool expectation = true;  // average of argmax and expectation (FARTrack sparse); false: argmax alone
};

// Throws ArtifactError unless bins >= 2, range >= 1, classes >= bins * range, and none is absurdly large.
void check(const BinLayout& layout);

// Decodes logits (4, classes), contiguous float32, as the published trackers do (argmax over all classes with
// the scale bins - 1, expectation over the first bins * range classes with the scale bins; ties: the lowest
// class). The arithmetic is float32, sums are carried in float64.
BinDecode decode_bins(const float* logits, const BinLayout& layout);

// A confidence in [0, 1] that needs no score head.
struct BinMass {
  float value = 0;
  bool finite = true;  // false: a logit is NaN or infinite (value is 0)
};

// Returns how concentrated the four distributions are: per coordinate the softmax mass (over the first `used`
// classes) within `radius` bins of the largest one, then the geometric mean. logits: (4, classes),
// contiguous.
BinMass bin_mass(const float* logits, int classes, int used, int radius);

// Chooses the tokens that stay when the `prune` lowest scores go; equal scores go lowest index first (a
// stable sort), NaN counts as the highest. Writes count - prune indices in ascending order to `kept`, which
// must have the room. Throws InputError unless 0 <= prune <= count.
void keep_rows(const float* score, int count, int prune, int* kept);

}  // namespace edgetrack

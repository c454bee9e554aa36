"""Frames from anywhere, as numpy arrays: no OpenCV needed. Here a bright square moves over noise.

    python examples/numpy_frames.py fartrack-pico-onnx-fp32

Needs: pip install 'edgetrack[onnxruntime]'
"""

import sys

import numpy as np

import edgetrack


def square_at(x: int, y: int) -> np.ndarray:
    """Return a 640x480 RGB frame of noise with a 60x60 square whose top-left corner is at x, y."""
    frame = np.random.default_rng(0).integers(0, 80, (480, 640, 3), np.uint8)
    frame[y : y + 60, x : x + 60] = (230, 180, 40)
    return frame


def main() -> None:
    """Print the box of every frame beside the true one."""
    with edgetrack.load(sys.argv[1]) as tracker:
        tracker.init(square_at(100, 200), (100, 200, 60, 60), color="rgb")
        for step in range(1, 31):
            x, y = 100 + 4 * step, 200 + step
            # Any view will do: strided, flipped or cropped frames are read in place, without a copy.
            ok, box = tracker.update(square_at(x, y), color="rgb")
            shown = ", ".join(f"{value:.1f}" for value in box)
            print(f"{step}: box {shown} (true: {x}, {y}, 60, 60) score {tracker.score:.2f} ok {ok}")


if __name__ == "__main__":
    main()

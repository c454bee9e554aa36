"""Follow a target through a video file and write its boxes.

    python examples/video_file.py fartrack-pico-onnx-fp32 clip.mp4 286,321,195,111

Needs: pip install 'edgetrack[onnxruntime,video]'
"""

import sys

import edgetrack
from edgetrack.video import open_source


def main() -> None:
    """Print one line a frame: number, state, score, box (x, y, w, h in pixels)."""
    artifact, video, box = sys.argv[1:]
    with edgetrack.load(artifact) as tracker, open_source(video) as frames:
        for number, frame in enumerate(frames):
            if number == 0:
                tracker.init(frame, [float(value) for value in box.split(",")])
                continue
            ok, (x, y, w, h) = tracker.update(frame)
            seen = tracker.state.name if ok else "LOST, last seen at"
            print(f"{number} {seen} {tracker.score:.2f} {x:.1f},{y:.1f},{w:.1f},{h:.1f}")


if __name__ == "__main__":
    main()

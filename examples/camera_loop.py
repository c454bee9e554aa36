"""Your own OpenCV loop: pick a target with the mouse, follow it, pick again when it is lost.

    python examples/camera_loop.py fartrack-pico-onnx-fp32 [camera number or video]

Needs: pip install 'edgetrack[onnxruntime]' opencv-python   (the one with windows)
"""

import sys

import cv2

import edgetrack

COLOURS = {"TRACKING": (0, 200, 0), "UNCERTAIN": (0, 200, 255), "LOST": (0, 0, 255)}


def main() -> None:
    """Keys: s selects a target, q quits."""
    artifact = sys.argv[1]
    source = sys.argv[2] if len(sys.argv) > 2 else "0"
    camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
    following = False
    with edgetrack.load(artifact) as tracker:
        while True:
            good, frame = camera.read()
            if not good:
                break
            shown = frame.copy()
            if following:
                _, (x, y, w, h) = tracker.update(frame)
                colour = COLOURS[tracker.state.name]
                cv2.rectangle(shown, (round(x), round(y)), (round(x + w), round(y + h)), colour, 2)
                cv2.putText(shown, f"{tracker.score:.2f}", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, colour, 2)
            cv2.imshow("edgetrack", shown)
            key = cv2.waitKey(1) & 0xFF
            if key == ord("q"):
                break
            if key == ord("s"):
                box = cv2.selectROI("edgetrack", frame)
                following = box[2] > 0 and box[3] > 0
                if following:
                    tracker.init(frame, box)
    camera.release()


if __name__ == "__main__":
    main()

"""What runs on the device: engines, and the Python side of a tracker. Never imports torch, onnx or cv2."""

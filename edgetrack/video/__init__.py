"""Frames in, annotated video and box files out. Needs OpenCV, which is imported when the first is opened."""

from __future__ import annotations

from edgetrack.video.boxes import FrameResult, read_ground_truth, write_boxes
from edgetrack.video.sink import VideoSink
from edgetrack.video.source import Source, open_source

__all__ = ["FrameResult", "Source", "VideoSink", "open_source", "read_ground_truth", "write_boxes"]

"""`edgetrack serve`: a page in the browser that opens a video, starts a tracker and shows what it does.

Three layers. `Session` has no web in it: a source, the tracker's thread, commands, results, and a slot with the latest
frame. `app` is a thin web application over it, behind `guard`. `page/` is what the browser loads.
"""

from __future__ import annotations

"""The source of a session: opening, winding, and showing its frames."""

from __future__ import annotations

from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import NotNow
from edgetrack.serve.feed import Feed, Opener, open_feed
from edgetrack.serve.frames import KeptFrames, Shown
from edgetrack.serve.slot import LatestSlot

__all__ = ["Playback"]

_FIRST_S = 2.0


class Playback:
    """At most one open source; belongs to the session's thread, the attributes may be read by any.

    Attributes:
        choice: what is open; None for nothing.
        latest: the frame that is shown.
        kept: the last ones, for those who draw.
    """

    def __init__(self, opener: Opener) -> None:
        """`opener` is `edgetrack.video.open_source`, or something like it."""
        self.choice: SourceChoice | None = None
        self.latest: LatestSlot[Shown] = LatestSlot()
        self.kept = KeptFrames()
        self.maybe_feed: Feed | None = None
        self._opener = opener

    @property
    def feed(self) -> Feed:
        """The open source's frames; NotNow where none is open."""
        if self.maybe_feed is None:
            raise NotNow("no source is open; open a file, camera or stream first")
        return self.maybe_feed

    def open(self, choice: SourceChoice) -> None:
        """Open a source, after closing the one that was open, and show its first frame.

        Raises:
            InputError: see `edgetrack.video.open_source`.
            EngineUnavailable: OpenCV is not installed.
        """
        self.close()
        self.maybe_feed = open_feed(choice, self._opener)
        self.choice = choice
        self.preview(_FIRST_S)

    def close(self) -> None:
        """Close the source; its last frame is no longer shown."""
        feed, self.maybe_feed, self.choice = self.maybe_feed, None, None
        self.kept.clear()
        self.latest.clear()
        if feed is not None:
            feed.close()

    def preview(self, timeout_s: float) -> bool:
        """Show the next frame without tracking it: of a camera it is gone then, of a file it stays the next.

        Returns:
            Whether there was one in time.
        """
        feed = self.feed
        frame = feed.take(timeout_s) if feed.live else feed.peek(timeout_s)
        if frame is None:
            return False
        self.show(Shown(feed.position - feed.live, frame))
        return True

    def show(self, shown: Shown) -> None:
        """Make a frame the one that is shown."""
        self.kept.add(shown)
        self.latest.put(shown)

    def shown(self, number: int | None = None) -> Shown:
        """Return the frame that is shown, or a kept one by its number.

        Raises:
            NotNow: nothing is shown, or it is not kept any more.
        """
        newest = self.latest.get()[1]
        if newest is None:
            raise NotNow("no frame has come yet; wait for the source, or open one")
        if number is None or number == newest.number:
            return newest
        shown = self.kept.get(number)
        if shown is None:
            raise NotNow(f"frame {number} is not kept any more; draw the box on a newer one")
        return shown

    def consume(self, shown: Shown) -> bool:
        """Go past a frame that a file has only shown so far; tell whether it was one."""
        feed = self.feed
        ahead = not feed.live and shown.number == feed.position
        if ahead:
            feed.take(0)
        return ahead

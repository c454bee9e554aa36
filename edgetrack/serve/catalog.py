"""What may be opened: artifacts and media by names that this server gave out, never by a path of a client."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from edgetrack.errors import ArtifactError, InputError
from edgetrack.serve.control import SourceChoice
from edgetrack.serve.errors import NotAllowed, naming, one_line

__all__ = ["Artifacts", "Media", "camera", "stream"]

_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_MOST_LISTED = 2000
_MOST_PATH = 4096
_MOST_CAMERA = 99
_SCHEMES = ("rtsp", "rtsps", "http", "https")
_MOST_URL = 2048


class Artifacts:
    """Artifact folders by a short name each: those that were given, and those that lie in given folders."""

    def __init__(self, given: Sequence[Path], folders: Sequence[Path] = ()) -> None:
        self._given = [path.resolve() for path in given]  # "." has no name
        self._folders = list(folders)

    def listed(self) -> list[dict[str, Any]]:
        """Return id, name and what the manifest says for each; one that is damaged has `trouble` instead."""
        return [_facts(name, path) for name, path in self._all().items()]

    def path(self, name: object) -> Path:
        """Return the folder of an id; InputError where there is none."""
        found = self._all()
        if not isinstance(name, str) or name not in found:
            raise InputError(f"artifact {str(name)[:80]!r} is not in the list; choose one of it")
        return found[name]

    def describer(self, path: Path) -> Path | None:
        """Return another artifact of the same weights that describes targets, which this one may not do by itself.

        Raises:
            ArtifactError: this one is damaged; calls it by its name.
        """
        from edgetrack.artifact import read_artifact
        from edgetrack.serve.describe import describes

        with naming(path):
            wanted = read_artifact(path, verify_checksums=False).model
        for other in self._all().values():
            try:
                found = read_artifact(other, verify_checksums=False)
                same = (found.model.variant, found.model.checkpoint_sha256) == (
                    wanted.variant,
                    wanted.checkpoint_sha256,
                )
                if same and describes(found):
                    return other
            except ArtifactError:
                continue
        return None

    def _all(self) -> dict[str, Path]:
        paths = list(self._given)
        for folder in self._folders:
            paths += sorted(path.parent.resolve() for path in folder.glob("*/edgetrack.json"))
        return {hashlib.sha256(str(path).encode()).hexdigest()[:16]: path for path in paths}


def _facts(name: str, path: Path) -> dict[str, Any]:
    from edgetrack.artifact import read_artifact

    facts: dict[str, Any] = {"id": name, "name": path.name}
    try:
        with naming(path):
            artifact = read_artifact(path, verify_checksums=False)
    except ArtifactError as error:
        return facts | {"trouble": one_line(error)}
    return facts | {
        "variant": artifact.model.variant,
        "precision": artifact.precision.actual,
        "engine": artifact.target.engine,
        "device": artifact.target.device,
        "mib": round(artifact.size_bytes() / 2**20, 1),
        "reads_text": "language" in artifact.tracker,
        "trouble": "",
    }


@dataclass(frozen=True)
class Media:
    """Videos and folders of images below some folders; nothing outside of them can be opened, by no link either."""

    roots: Sequence[Path]
    bundled: Sequence[Path] = field(default_factory=tuple)

    def listed(self) -> list[dict[str, str]]:
        """Return a path for each, as `choice` takes it: the root's number, a slash, the path below it; and a label."""
        found = [
            {"path": f"bundled/{path.name}", "label": f"{path.name} (comes with edgetrack)"} for path in self.bundled
        ]
        for number, root in enumerate(self.roots):
            for path in _below(root):
                if len(found) == _MOST_LISTED:
                    return found
                inner = path.relative_to(root).as_posix()
                found.append({"path": f"{number}/{inner}", "label": inner})
        return found

    def choice(self, asked: object) -> SourceChoice:
        """Return what to open for a path that `listed` gave; any other is refused.

        Raises:
            NotAllowed: it leads out of the folders.
            InputError: it is malformed, or there is no such video.
        """
        if not isinstance(asked, str) or "\0" in asked or "\\" in asked or len(asked) > _MOST_PATH:
            raise InputError("media is not a path of the list; choose one of it")
        head, _, inner = asked.partition("/")
        if inner.startswith("/") or ".." in PurePosixPath(inner).parts:
            raise NotAllowed(f"media {asked[:80]!r} leads out of the folders that are served; choose one of the list")
        if head == "bundled":
            paths = [path for path in self.bundled if path.name == inner]
        else:
            paths = [root / inner for number, root in enumerate(self.roots) if str(number) == head]
        if not paths:
            raise InputError(f"media {asked[:80]!r} is not in the list; choose one of it")
        path = paths[0]
        if head != "bundled" and not path.resolve().is_relative_to(self.roots[int(head)].resolve()):
            raise NotAllowed(f"media {asked[:80]!r} leads out of the folders that are served; choose one of the list")
        if head != "bundled" and path.is_dir() and _links_out(path, self.roots[int(head)].resolve()):
            raise NotAllowed(
                f"media {asked[:80]!r} has images that lead out of the folders that are served; remove them"
            )
        if not _is_media(path):
            raise InputError(f"media {asked[:80]!r} is no video or folder of images; choose one of the list")
        return SourceChoice(str(path), inner)


def _below(root: Path) -> Iterator[Path]:
    """Yield the media below a folder, in order; what a link leads out to is left out."""
    real = root.resolve()
    for folder, subfolders, files in _walk(root):
        subfolders.sort()
        for name in sorted(files):
            path = folder / name
            if path.suffix.lower() in _VIDEO_SUFFIXES and path.resolve().is_relative_to(real):
                yield path
        if folder != root and _is_media(folder):
            yield folder


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield Path(folder), subfolders, files


def _links_out(folder: Path, real: Path) -> bool:
    """Tell whether an image of a folder is a link to somewhere that is not below `real`."""
    images = (path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
    return any(path.is_symlink() and not path.resolve().is_relative_to(real) for path in images)


def _is_media(path: Path) -> bool:
    if path.is_dir():
        return any(inner.suffix.lower() in _IMAGE_SUFFIXES for inner in path.iterdir())
    return path.is_file() and path.suffix.lower() in _VIDEO_SUFFIXES


def camera(number: object) -> SourceChoice:
    """Return camera `number`, 0 to 99; InputError."""
    if type(number) is not int or not 0 <= number <= _MOST_CAMERA:
        raise InputError(f"camera {str(number)[:40]!r} is no whole number from 0 to {_MOST_CAMERA}")
    # A file of that name would come first.
    device = Path(f"/dev/video{number}")
    return SourceChoice(str(device) if device.exists() else str(number), f"camera {number}")


def stream(url: object) -> SourceChoice:
    """Return the stream behind an address of rtsp or http; InputError. A password in it is not shown.

    Other addresses, as file: or pipe:, are refused, and a path never stands for a stream. What a server of http sends
    may name further addresses (redirects, playlists): FFmpeg follows those of the network, but opens no file for them.
    """
    if not isinstance(url, str) or len(url) > _MOST_URL or not re.fullmatch(r"[!-~]+", url):
        raise InputError("the stream's address is no URL; give one as rtsp://camera.local/live")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"the stream's address is no URL ({error}); give one as rtsp://camera.local/live") from error
    if parts.scheme.lower() not in _SCHEMES or not host:
        raise InputError(f"streams are addresses that begin with {', '.join(_SCHEMES)}; give one as rtsp://host/live")
    return SourceChoice(url, f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}")

"""Takes docs/pictures/page.png: the page of `edgetrack serve` in headless Chromium, following the bundled clip's car.

Needs an artifact of FARTrack-Pico, as `make demo` writes it, and a Chromium on the PATH; `make page-picture` does both.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

from edgetrack import demo

OUT = Path(__file__).with_name("page.png")
SIZE = {"width": 1280, "height": 900}
AT_FRAME = 30
MOST_BYTES = 300_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def serving(artifact: Path) -> Iterator[str]:
    """Yield the address of a server for one artifact."""
    words = ("serve", artifact, "--port", 0, "--json", "--no-cameras", "--no-streams")
    process = subprocess.Popen([sys.executable, "-m", "edgetrack", *map(str, words)], stdout=subprocess.PIPE, text=True)
    try:
        lines = []
        while not lines or lines[-1].rstrip() != "}":
            lines.append(process.stdout.readline())
            if not lines[-1]:
                raise SystemExit(f"the server did not start with {artifact}; run `make demo` first")
        yield json.loads("".join(lines))["address"]
    finally:
        process.terminate()
        process.wait(30)


def follow_the_car(page: Page, address: str) -> None:
    """Do what a visitor does, up to a run in full swing."""
    page.goto(address)
    page.wait_for_selector("#connection:not(.off)")
    page.wait_for_selector("#artifact option:has-text('MiB')", state="attached")
    page.click("#load")
    page.wait_for_selector("#step-model.done")
    page.select_option("#media", f"bundled/{demo.CLIP.name}")
    page.click("#open-media")
    page.wait_for_selector("body[data-phase=ready] #screen:not(.empty)")
    page.select_option("#pace", "source")
    box = demo.GROUND_TRUTH.read_text().splitlines()[0].split(",")
    for part, value in zip("xywh", box, strict=True):
        page.fill(f"#box-{part}", value)
    page.click("#start")
    while int(page.inner_text("#frame").split()[0]) < AT_FRAME:
        page.wait_for_timeout(20)


def main() -> None:
    """Take the picture."""
    (artifact,) = map(Path, sys.argv[1:])
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise SystemExit(f"no browser here: none of {', '.join(BROWSERS)} is on the PATH")
    with serving(artifact) as address, tempfile.TemporaryDirectory() as profile, sync_playwright() as tool:
        context = tool.chromium.launch_persistent_context(
            profile, executable_path=browser, args=["--no-sandbox", "--disable-gpu"], viewport=SIZE
        )
        page = context.new_page()
        follow_the_car(page, address)
        shot = page.screenshot(full_page=True)
        context.close()
    pixels = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    if len(data) > MOST_BYTES:
        raise SystemExit(f"the picture has {len(data)} bytes, must have at most {MOST_BYTES}")
    OUT.write_bytes(data)
    print(f"wrote {OUT} ({len(data) / 1e3:.0f} kB)")


if __name__ == "__main__":
    main()

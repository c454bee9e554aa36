"""The page in a real browser, headless Chromium: from choosing an artifact to the boxes in a file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("typer")
pytest.importorskip("cv2")
pytest.importorskip("playwright")
from playwright.sync_api import expect, sync_playwright
from serve_process import server

import edgetrack
from edgetrack import demo
from edgetrack.cli import main
from edgetrack.video import VideoSink, open_source

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
_WAIT_MS = 30_000
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no browser here: none of {', '.join(NAMES)} is on the PATH"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as tool:
        context = tool.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1440, "height": 1000}
        )
        yield context
        context.close()


@pytest.fixture
def page(browser):
    """A page of its own; an error in it, a breach of its policy or a request to another host fails the test."""
    made = browser.new_page()
    made.set_default_timeout(_WAIT_MS)
    expect.set_options(timeout=_WAIT_MS)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    made.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else wrong.append(asked.url))
    yield made
    made.close()
    answers = ("Failed to load resource", "WebSocket connection to")  # refused requests, and the end of the server
    assert [line for line in wrong if not line.startswith(answers)] == []


def draw(page, x: float, y: float, w: float, h: float) -> None:
    """Drag a box, given in pixels of the clip's frames, 768 wide."""
    area = page.locator("#overlay").bounding_box()
    scale = area["width"] / 768
    page.mouse.move(area["x"] + x * scale, area["y"] + y * scale)
    page.mouse.down()
    for part in (0.3, 0.7, 1.0):
        page.mouse.move(area["x"] + (x + part * w) * scale, area["y"] + (y + part * h) * scale)
    page.mouse.up()


def drawn_box(page) -> list[float]:
    return [float(page.input_value(f"#box-{part}")) for part in "xywh"]


def shown_frame(page) -> int:
    return int(page.inner_text("#frame").split()[0])


def in_phase(page, phase: str) -> None:
    page.wait_for_selector(f"body[data-phase={phase}]")


def load(page, name: str) -> None:
    """Choose an artifact by its name and load it; none: the only one."""
    if name:
        page.select_option("#artifact", label=page.inner_text(f"#artifact option:has-text('{name} (')"))
    page.click("#load")


def ready(page, address: str, video: str, name: str = "") -> None:
    """Open the page, load an artifact and open a video, as a visitor does."""
    page.goto(address)
    page.wait_for_selector("#connection:not(.off)")
    page.wait_for_selector("#artifact option:has-text('MiB')", state="attached")
    load(page, name)
    page.wait_for_selector("#step-model.done")
    page.select_option("#media", video)
    page.click("#open-media")
    page.wait_for_selector("#screen:not(.empty)")
    in_phase(page, "ready")
    page.select_option("#pace", "source")


@pytest.fixture
def slow(tmp_path) -> Path:
    """A folder with a video of 40 seconds, in which nothing can end while a busy machine clicks."""
    (tmp_path / "media").mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (432, 768, 3), np.uint8)
    with VideoSink(tmp_path / "media" / "slow.mp4", (768, 432), 5.0) as sink:
        for index in range(200):
            sink.write(np.roll(noise, index, axis=1))
    return tmp_path / "media"


def test_a_run_from_the_box_to_the_files(page, artifact, tmp_path):
    with server(tmp_path, artifact) as (_, told):
        ready(page, told["address"], "bundled/car.mp4")
        draw(page, 286, 321, 195, 110)
        box = drawn_box(page)
        assert box == pytest.approx([286, 321, 195, 110], abs=1.5)
        page.click("#start")
        page.click("#pause")
        in_phase(page, "paused")
        expect(page.locator("#state")).to_have_text(re.compile("TRACKING|UNCERTAIN|LOST"))
        expect(page.locator("#score")).to_have_text(re.compile(r"^[01]\.\d{3}$"))
        held, shown = shown_frame(page), page.inner_text("#box")
        page.click("#step")
        expect(page.locator("#frame")).to_have_text(f"{held + 1} / 64")
        expect(page.locator("#box")).not_to_have_text(shown)
        page.select_option("#pace", "max")
        page.click("#resume")
        in_phase(page, "ended")
        page.select_option("#format", "got10k")
        with page.expect_download() as download:
            page.click("#boxes")
        words = ("track", artifact, "--source", demo.CLIP, "--init", ",".join(map(str, box)), "--boxes", tmp_path / "b")
        assert main([*map(str, words)]) == 0
        assert download.value.path().read_text() == (tmp_path / "b").read_text()
        with page.expect_download() as download:
            page.click("#video")
        assert download.value.suggested_filename == "track.mp4"
        with open_source(str(download.value.path())) as video:
            assert video.count == 65
        expect(page.locator("#error")).to_be_hidden()


def test_live_numbers_and_switching_the_target_of_a_running_video(page, artifact, tmp_path, slow):
    with server(tmp_path, artifact, "--media", slow) as (_, told):
        ready(page, told["address"], "0/slow.mp4")
        page.click("#start")
        expect(page.locator("#error-text")).to_have_text(re.compile("nothing says what to follow"))
        draw(page, 500, 200, 120, 110)
        page.click("#start")
        in_phase(page, "running")
        expect(page.locator("#error")).to_be_hidden()
        expect(page.locator("#fps")).to_have_text(re.compile(r"^\d+\.\d$"))
        expect(page.locator("#stages td", has_text="crop")).to_be_visible()
        shown = page.inner_text("#box")
        expect(page.locator("#box")).not_to_have_text(shown)
        draw(page, 40, 60, 80, 70)
        expect(page.locator("#held")).to_contain_text("is held for your box")
        held = shown_frame(page)
        expect(page.locator("#frame")).not_to_have_text(f"{held} / 199")  # it goes on meanwhile
        page.click("#switch")
        expect(page.locator("#held")).to_be_hidden()
        expect(page.locator("#box")).to_have_text(re.compile(r"^\d\d?\.\d, "))  # at the left now
        in_phase(page, "running")
        page.click("#stop")
        in_phase(page, "ready")
        page.click("#restart")
        expect(page.locator("#run-facts")).to_contain_text("Run 2")
        in_phase(page, "running")
        page.click("#stop")
        in_phase(page, "ready")


def test_thresholds_are_shown_where_there_are_some(page, artifact, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("tokenizers")
    from tiny_mvlm_artifact import write_artifact

    folder = tmp_path / "artifacts"
    folder.mkdir()
    write_artifact(folder / "mvlm")
    shutil.copytree(artifact, folder / "plain")
    with server(tmp_path, "--folder", folder) as (_, told):
        ready(page, told["address"], "bundled/car.mp4", "mvlm")
        expect(page.locator("#thresholds")).to_be_visible()
        expect(page.locator("#threshold-rows label")).to_have_text(["tau0.00", "omega0.40", "lambda0.40", "psi0.10"])
        page.fill("#text", "the red car")
        page.click("#start")
        page.click("#pause")
        in_phase(page, "paused")
        page.locator("#threshold-tau").fill("0.9")  # moves the slider, as a drag does
        expect(page.locator("#threshold-rows")).to_contain_text("0.90")
        page.click("#step")
        expect(page.locator("#state")).to_have_text("LOST")
        page.click("#as-exported")
        expect(page.locator("#threshold-rows")).to_contain_text("tau0.00")
        page.click("#stop")
        in_phase(page, "ready")
        load(page, "plain")
        expect(page.locator("#model-facts")).to_contain_text("fartrack-tiny-test")
        expect(page.locator("#thresholds")).to_be_hidden()


def test_a_target_pack_where_the_artifact_describes_nothing(page, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("tokenizers")
    import tiny_described_artifact

    whole = tiny_described_artifact.write_artifact(tmp_path / "whole")
    slim = tiny_described_artifact.write_artifact(tmp_path / "slim", whole=False)
    with open_source(str(demo.CLIP)) as source:
        pack = edgetrack.encode_text(whole, "the red car", source.read(), (286, 321, 195, 111))
    pack.save(tmp_path / "car.pack")
    with server(tmp_path, slim) as (_, told):
        ready(page, told["address"], "bundled/car.mp4")
        expect(page.locator("#target-hint")).to_contain_text("choose a target pack")
        expect(page.locator("#text")).to_be_disabled()
        draw(page, 286, 321, 195, 111)
        page.click("#start")
        expect(page.locator("#error-text")).to_contain_text("carries nothing that describes a target")
        page.set_input_files("#pack", tmp_path / "car.pack")
        expect(page.locator("#pack-facts")).to_have_text("“the red car”, made for described-toy-test")
        page.click("#start")
        expect(page.locator("#run-facts")).to_contain_text("“the red car”")
        expect(page.locator("#error")).to_be_hidden()
        page.click("#stop")
        in_phase(page, "ready")
    with server(tmp_path, slim, whole) as (_, told):
        ready(page, told["address"], "bundled/car.mp4", "slim")
        expect(page.locator("#model-facts")).to_contain_text("targets are described by whole")
        draw(page, 286, 321, 195, 111)
        page.fill("#text", "the white man")
        page.click("#start")
        expect(page.locator("#run-facts")).to_contain_text("“the white man”")
        page.click("#stop")
        in_phase(page, "ready")

"""GLAD with a small diffusion model: exported with it, proven, and packs made for artifacts without it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_glad
import torch
from drawn_clip import drawn_clip

import edgetrack
from edgetrack.artifact import read_artifact
from edgetrack.benchmarks import profile
from edgetrack.cli import main
from edgetrack.errors import ArtifactError, CheckpointError, InputError
from edgetrack.export.language import TextFiles
from edgetrack.export.models.diffusion import load_diffusion
from edgetrack.export.parity.clip import Clip
from edgetrack.export.pipeline import export_tracker
from edgetrack.export.standin import noise, synth_box, synth_frame
from edgetrack.export.verify import verify_artifact
from edgetrack.runtime.target_pack import read_pack

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
HEIGHT, WIDTH = 150, 200
BOX = synth_box(0, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    return drawn_clip(tmp_path_factory.mktemp("clip"), 9)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return small_glad.write_diffusion(tmp_path_factory.mktemp("model") / "sd")


@pytest.fixture(scope="module")
def made(clip, model, tmp_path_factory):
    """An artifact with the diffusion model, and the gate's report."""
    with pytest.MonkeyPatch.context() as patch:
        small_glad.install(patch)
        output = tmp_path_factory.mktemp("glad") / "whole"
        files = TextFiles(diffusion=model)
        return export_tracker("glad-b256", "stand-in", output=output, clip=clip, threads=1, text=files)


@pytest.fixture
def slim(made, tmp_path) -> Path:
    """The same artifact as a device has it: without everything that describes a target."""
    folder = tmp_path / "slim"
    shutil.copytree(made.path, folder)
    for role in ("text", "vae", "unet", "pool"):
        for file in folder.glob(f"{role}.*"):
            file.unlink()
    (folder / "tokenizer.json").unlink()
    assert sorted(path.name for path in folder.iterdir()) == ["edgetrack.json", "search.onnx", "template.onnx"]
    return folder


def frames(count: int) -> list[np.ndarray]:
    return [synth_frame(index, HEIGHT, WIDTH) for index in range(count)]


def followed(tracker, video, **described) -> list[tuple[float, ...]]:
    tracker.init(video[0], BOX, color="rgb", **described)
    boxes = []
    for frame in video[1:]:
        tracker.update(frame)
        boxes.append(tracker.raw_box)
    return boxes


def test_built_and_proven(made):
    """Every graph is compared, and the closed loop runs through all of them."""
    assert made.report.verdict == "passed"
    judged = {f"{item.role}.{item.output}" for item in made.report.tensors}
    assert {"text.context", "vae.noisy", "unet.latent_0", "unet.latent_2", "pool.key_0", "search.score"} <= judged
    assert all(item.limit is not None for item in made.report.tensors)
    language = read_artifact(made.path).tracker["language"]
    assert language["chain"] == ["text", "vae", "unet", "pool"]
    assert language["noise_seed"] == 0
    assert len(language["encoder_sha256"]) == 64
    assert "--diffusion" in read_artifact(made.path).build.command


@pytest.mark.big
def test_verified_again(made, clip, model, monkeypatch):
    small_glad.install(monkeypatch)
    assert verify_artifact(made.path, text=TextFiles(diffusion=model), clip=clip, threads=1).verdict == "passed"


def test_text_and_picture_move_the_box(made):
    video = frames(3)
    with edgetrack.load(made.path, threads=1) as tracker:
        man, car = (followed(tracker, video, text=text) for text in ("the man", "the red car"))
        assert followed(tracker, video, text="the man") == man != car
        nothing = followed(tracker, video)
        assert nothing not in (man, car)
        tracker.init(video[0], BOX, text="the red car", color="rgb")
        tracker.retarget(text="the man")  # shown the picture of init again
        tracker.update(video[1])
        assert tracker.raw_box == man[0]
        assert tracker.text_ms > 0


def test_what_the_chain_gives_is_the_models_own_result(made, model, monkeypatch):
    """Against the network in PyTorch: empty sentence, noise, guidance, pooling and projection, all in one."""
    from edgetrack.export.diffusion_files import read_diffusion
    from edgetrack.export.source import load_source

    small_glad.install(monkeypatch)
    source = load_source("glad-b256", "stand-in", 0, TextFiles(diffusion=model))
    net = load_diffusion(read_diffusion(model, small_glad.DIFFUSION).state, small_glad.DIFFUSION)
    with edgetrack.load(made.path, threads=1) as tracker:
        pack = tracker.encode_text("the man", frames(1)[0], BOX, color="rgb")
        image = torch.from_numpy(tracker.picture(frames(1)[0], BOX, "rgb"))
        ids = torch.from_numpy(tracker.language._inputs("the man")["ids"])
    noises = [torch.from_numpy(noise(f"noise.{n}", (1, 4, 16, 16))) for n in ("vae_posterior", "diffusion")]
    with torch.no_grad():
        pooled = source.net.pooled(net(ids, image, *noises))
        for k, block in enumerate(source.net.decoders()):
            np.testing.assert_allclose(pack.arrays[f"key_{k}"], block.attn3.keys(pooled[k]), rtol=0, atol=1e-3)
            np.testing.assert_allclose(pack.arrays[f"value_{k}"], block.attn3.values(pooled[k]), rtol=0, atol=1e-3)


def test_a_device_without_the_model(made, slim, tmp_path):
    """`edgetrack encode` on one machine, two graphs and a pack on the other; the boxes are the same."""
    video = frames(4)
    with edgetrack.load(made.path, threads=1) as tracker:
        expected = followed(tracker, video, text="the man")
    pack = edgetrack.encode_text(made.path, "the man", video[0], BOX, color="rgb", threads=1)
    pack.save(tmp_path / "man.pack")
    with edgetrack.load(slim, threads=1) as tracker:
        assert followed(tracker, video, pack=tmp_path / "man.pack") == expected
        for described in ({"text": "the man"}, {}):
            with pytest.raises(InputError, match="no text encoder; give a target pack"):
                tracker.init(video[0], BOX, **described)


def test_search_files_are_not_optional(slim):
    (slim / "search.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"search\.onnx: named in edgetrack\.json but missing"):
        edgetrack.load(slim)


def test_command_line(made, slim, clip, tmp_path, capsys):
    pack = tmp_path / "man.pack"
    picture = ("--image", f"{clip.path}/00.png", "--box", ",".join(map(str, BOX)))
    said = ("encode", str(made.path), "--text", "the man", "--output", str(pack))
    assert main([*said, *picture, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == pack.stat().st_size
    assert read_pack(pack).text == "the man"
    follow = ("track", str(slim), "--source", clip.path, "--init", picture[3], "--json")
    assert main([*follow, "--pack", str(pack)]) == 0
    capsys.readouterr()
    for words, code, message in (
        (said, 5, "describes a target by its picture too"),
        ((*said, *picture[:2]), 2, "give both or neither"),
        ((*said, "--image", "none.png", *picture[2:]), 5, "image none.png does not exist"),
        ((*said[:1], str(slim), *said[2:], *picture), 5, "by its text alone|no text encoder"),
        ((*follow, "--text", "the man"), 5, "no text encoder"),
    ):
        assert main(list(words)) == code, words
        error = capsys.readouterr().err
        assert any(part in error for part in message.split("|")), error
        assert "Traceback" not in error


@pytest.fixture
def run(monkeypatch, capsys):
    """Call the command line with the family at small sizes."""
    small_glad.install(monkeypatch)

    def call(*words: object) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_bench_against_the_loop_that_is_told_the_same(run, made, model, clip):
    words = ("bench", made.path, "--source", clip.path, "--init", ",".join(map(str, BOX)), "--text", "the man")
    words += ("--compare", "--reference", "stand-in", "--frames", 3, "--warmup", 0, "--threads", 1, "--no-fresh")
    code, out, err = run(*words, "--diffusion", model, "--json")
    assert code == 0, err
    _, entry = json.loads(out)["contenders"]
    assert entry["versus"]["max_box_px"] < 0.05
    assert entry["text_ms"] > 0 == entry["stages_ms"]["text"]["max"]
    code, _, err = run(*words)
    assert (code, "no text is encoded here" in err) == (5, True)
    code, _, err = run(*words[:7], "the man", "--diffusion", model)
    assert (code, "are for --reference" in " ".join(err.split())) == (2, True)


def test_eval_of_a_checkpoint_with_its_diffusion_model(run, model, tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name, text in (("a", "man"), ("b", "dog"), ("c", "man")):
        folder = tmp_path / "data" / name
        (folder / "img").mkdir(parents=True)
        for index, frame in enumerate(frames(3), start=1):
            cv2.imwrite(str(folder / "img" / f"{index:08}.jpg"), frame[..., ::-1])
        (folder / "groundtruth.txt").write_text(3 * (",".join(map(str, BOX)) + "\n"))
        (folder / "nlp.txt").write_text(text)
    words = ("eval", "stand-in", "--model", "glad-b256", "--data", tmp_path / "data", "--output", tmp_path / "out")
    code, _, err = run(*words, "--no-plots", "--threads", 1, "--diffusion", model)
    assert code == 0, err
    found = [(tmp_path / "out" / "got10k" / name / f"{name}_001.txt").read_text() for name in ("a", "b", "c")]
    assert found[0] == found[2] != found[1]
    code, _, err = run(*words[:-1], tmp_path / "other", "--no-plots", "--threads", 1)
    assert (code, "no text is encoded here" in err) == (5, True)


def test_info_verify_and_profile(run, made, slim, model, clip, monkeypatch, capsys):
    assert "text is encoded here, by text, vae, unet, pool" in run("info", made.path)[1]
    assert "text is encoded here" not in run("info", slim)[1]
    seen = ("verify", made.path, "--clip", clip.path, "--init", ",".join(map(str, BOX)), "--threads", 1)
    code, _, err = run(*seen)
    assert (code, "was exported with a diffusion model" in err) == (5, True), err
    code, out, err = run(*seen, "--diffusion", model)
    assert (code, "verification: passed" in out) == (0, True), err
    monkeypatch.setattr(profile, "_CHAIN_OPERATIONS", 1e6)
    assert profile.main([str(made.path), "--threads", "1", "--updates", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["variant"] == "glad-b256"
    assert any(row["matrix"] for row in found["operators"])


@pytest.mark.parametrize(
    ("variant", "files", "words"),
    [
        ("ostrack-256", {"diffusion": Path("sd")}, "ostrack-256 has no use for a diffusion model"),
        ("glad-b256", {"lora": Path("x")}, "give that with --diffusion"),
        ("glad-b256", {"encoder": Path("x")}, "glad-b256 reads text elsewhere"),
        ("glad-b256", {"diffusion": Path("sd"), "encoder": Path("x")}, "leave out --text-encoder"),
    ],
)
def test_files_that_have_no_use(variant, files, words):
    with pytest.raises(InputError, match=words):
        TextFiles(**files).check(variant, made_up=False)


def test_a_folder_of_something_else(tmp_path, model, clip, monkeypatch):
    small_glad.install(monkeypatch)
    options = {"output": tmp_path / "made", "clip": clip}
    with pytest.raises(InputError, match=r"holds no tokenizer"):
        export_tracker("glad-b256", "stand-in", text=TextFiles(diffusion=tmp_path), **options)
    lora = model / "vae" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(CheckpointError, match="is no part of a UNet's LoRA"):
        export_tracker("glad-b256", "stand-in", text=TextFiles(diffusion=model, lora=lora), **options)
    assert not (tmp_path / "made").exists()

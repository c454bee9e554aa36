"""Writing artifacts: the final name holds a whole artifact or nothing, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from edgetrack.artifact import MANIFEST_NAME, ArtifactWriter
from edgetrack.errors import ArtifactError, InputError


def fill(writer: ArtifactWriter, text: str = "new") -> None:
    (writer.folder / "search.onnx").write_text(text)
    writer.write_manifest({"schema": 1, "text": text})


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_commit_gives_the_final_name(tmp_path):
    final = tmp_path / "below" / "artifact"
    with ArtifactWriter(final) as writer:
        assert writer.folder.parent == final.parent
        fill(writer)
        assert not final.exists()
        assert writer.commit() == final
    assert names(final.parent) == ["artifact"]
    assert names(final) == [MANIFEST_NAME, "search.onnx"]
    assert json.loads((final / MANIFEST_NAME).read_text()) == {"schema": 1, "text": "new"}


def test_without_commit_nothing_is_left(tmp_path):
    with ArtifactWriter(tmp_path / "artifact") as writer:
        fill(writer)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_after_an_error_nothing_is_left(tmp_path, error):
    def write() -> None:
        with ArtifactWriter(tmp_path / "artifact") as writer:
            fill(writer)
            raise error

    with pytest.raises(error):
        write()
    assert names(tmp_path) == []


def test_commit_needs_a_manifest(tmp_path):
    with pytest.raises(ArtifactError, match=r"no edgetrack\.json"), ArtifactWriter(tmp_path / "artifact") as writer:
        writer.commit()
    assert names(tmp_path) == []


def test_manifest_with_nan_is_refused(tmp_path):
    with ArtifactWriter(tmp_path / "artifact") as writer, pytest.raises(ValueError, match="not JSON compliant"):
        writer.write_manifest({"value": float("nan")})


def test_existing_artifact_needs_force(tmp_path):
    final = tmp_path / "artifact"
    with ArtifactWriter(final) as writer:
        fill(writer, "old")
        writer.commit()
    with pytest.raises(InputError, match="--force"), ArtifactWriter(final):
        pass
    with ArtifactWriter(final, force=True) as writer:
        fill(writer, "new")
        assert (final / "search.onnx").read_text() == "old"
        writer.commit()
    assert (final / "search.onnx").read_text() == "new"
    assert names(tmp_path) == ["artifact"]


def test_force_never_replaces_what_is_no_artifact(tmp_path):
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not an artifact"), ArtifactWriter(precious, force=True):
        pass
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="not an artifact"), ArtifactWriter(file, force=True):
        pass
    assert names(tmp_path) == ["file", "home"]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "artifact").mkdir()
    with ArtifactWriter(tmp_path / "artifact") as writer:
        fill(writer)
        writer.commit()
    assert (tmp_path / "artifact" / MANIFEST_NAME).is_file()


def test_name_taken_while_writing(tmp_path):
    final = tmp_path / "artifact"
    with ArtifactWriter(final) as writer:
        fill(writer)
        final.write_text("someone else's")
        with pytest.raises(InputError, match="not an artifact"):
            writer.commit()
    assert names(tmp_path) == ["artifact"]


def test_disk_full(tmp_path):
    with pytest.raises(ArtifactError, match="disk full"), ArtifactWriter(tmp_path / "artifact"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_disk_full_during_commit(tmp_path, monkeypatch):
    def refuse(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with ArtifactWriter(tmp_path / "artifact") as writer:
        fill(writer)
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(ArtifactError, match="disk full"):
            writer.commit()
    assert names(tmp_path) == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write"), ArtifactWriter(tmp_path / "file" / "artifact"):
        pass


def run_writer(final, body: str) -> subprocess.Popen:
    code = f"""
        import os, signal, sys, time
        from edgetrack.artifact import ArtifactWriter
        with ArtifactWriter({str(final)!r}) as writer:
            (writer.folder / "search.onnx").write_text("half")
            print("writing", flush=True)
            {body}
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def test_sigterm_removes_everything(tmp_path):
    process = run_writer(tmp_path / "artifact", "time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert names(tmp_path) == []


def test_what_a_kill_leaves_is_removed_by_the_next_writer(tmp_path):
    process = run_writer(tmp_path / "artifact", "time.sleep(60)")
    process.kill()
    process.wait(20)
    leftover = names(tmp_path)
    assert len(leftover) == 1
    assert leftover[0].startswith(".artifact.partial-")
    with ArtifactWriter(tmp_path / "artifact") as writer:
        fill(writer)
        writer.commit()
    assert names(tmp_path) == ["artifact"]


def test_a_living_writer_is_left_alone(tmp_path):
    process = run_writer(tmp_path / "artifact", "time.sleep(60)")
    try:
        with ArtifactWriter(tmp_path / "artifact") as writer:
            assert len(names(tmp_path)) == 2
            fill(writer)
        assert len(names(tmp_path)) == 1
    finally:
        process.kill()
        process.wait(20)


def test_handler_of_the_program_is_kept(tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with ArtifactWriter(tmp_path / "artifact"):
            # In this thread: os.kill may pick one of those that engines' libraries started, which crashes some.
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.01)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def write(final, text: str, *, force: bool = False) -> None:
    with ArtifactWriter(final, force=force) as writer:
        fill(writer, text)
        writer.commit()


def killed_between_renames(final) -> None:
    """Replace an artifact in a process that is killed once the old one has made room."""
    code = f"""
        import os, pathlib, signal
        from edgetrack.artifact import ArtifactWriter
        rename = pathlib.Path.rename
        def rename_and_die(self, target):
            rename(self, target)
            os.kill(os.getpid(), signal.SIGKILL)
        with ArtifactWriter({str(final)!r}, force=True) as writer:
            (writer.folder / "search.onnx").write_text("new")
            writer.write_manifest({{"schema": 1}})
            pathlib.Path.rename = rename_and_die
            writer.commit()
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == -signal.SIGKILL


def test_a_kill_between_the_renames_does_not_lose_the_old_artifact(tmp_path):
    final = tmp_path / "artifact"
    write(final, "old")
    killed_between_renames(final)
    assert not final.exists()
    with pytest.raises(InputError, match="--force"), ArtifactWriter(final):
        pass
    assert (final / "search.onnx").read_text() == "old"
    assert names(tmp_path) == ["artifact"]


def test_an_old_artifact_that_was_left_is_removed_once_there_is_a_new_one(tmp_path):
    final = tmp_path / "artifact"
    write(final, "old")
    killed_between_renames(final)
    (leftover,) = tmp_path.glob(".artifact.replaced-*")
    leftover.rename(tmp_path / "aside")
    write(final, "new")
    (tmp_path / "aside").rename(leftover)
    write(final, "newer", force=True)
    assert (final / "search.onnx").read_text() == "newer"
    assert names(tmp_path) == ["artifact"]


def test_an_old_artifact_is_kept_while_the_final_name_holds_something_else(tmp_path):
    final = tmp_path / "artifact"
    write(final, "old")
    killed_between_renames(final)
    final.write_text("someone else's")
    with pytest.raises(InputError, match="not an artifact"), ArtifactWriter(final, force=True):
        pass
    final.unlink()
    with ArtifactWriter(final, force=True):
        assert (final / "search.onnx").read_text() == "old"


def test_an_interrupt_between_the_renames_brings_the_old_artifact_back(tmp_path, monkeypatch):
    final = tmp_path / "artifact"
    write(final, "old")
    rename = type(final).rename

    def rename_once(self, target):
        monkeypatch.setattr(type(final), "rename", rename)
        rename(self, target)
        raise KeyboardInterrupt

    with ArtifactWriter(final, force=True) as writer:
        fill(writer, "new")
        monkeypatch.setattr(type(final), "rename", rename_once)
        with pytest.raises(KeyboardInterrupt):
            writer.commit()
    assert (final / "search.onnx").read_text() == "old"
    assert names(tmp_path) == ["artifact"]


def test_an_old_artifact_that_cannot_be_removed_is_no_error(tmp_path, monkeypatch):
    final = tmp_path / "artifact"
    write(final, "old")
    with ArtifactWriter(final, force=True) as writer:
        fill(writer, "new")
        with monkeypatch.context() as patch:
            patch.setattr(os, "rmdir", refuse_removal)
            patch.setattr(os, "unlink", refuse_removal)
            assert writer.commit() == final
    assert (final / "search.onnx").read_text() == "new"
    assert len(names(tmp_path)) == 2
    write(final, "newer", force=True)
    assert names(tmp_path) == ["artifact"]


def refuse_removal(*_arguments, **_options):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_symbolic_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    write(real, "old")
    link.symlink_to(real)
    write(link, "new", force=True)
    assert link.is_symlink()
    assert (real / "search.onnx").read_text() == "new"
    assert names(tmp_path / "disk") == ["real"]
    assert names(tmp_path) == ["disk", "link"]


def test_folders_made_for_it_go_too(tmp_path):
    with ArtifactWriter(tmp_path / "a" / "b" / "artifact"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []
    with ArtifactWriter(tmp_path / "a" / "b" / "artifact"):
        (tmp_path / "a" / "report.json").write_text("{}")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["report.json"]

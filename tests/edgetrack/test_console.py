"""What is printed on a terminal and what in a log."""

from __future__ import annotations

import pytest

from edgetrack.cli import console

COLUMNS = ("name", ">size", "note")
ROWS = [("a", 5, "first"), ("long name", 12345, "")]


@pytest.fixture
def terminal(monkeypatch):
    """Make both streams claim to be a terminal of a given width."""

    def set_width(columns: int) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return set_width


def test_plain_table(capsys):
    console.table(COLUMNS, ROWS, title="Things")
    assert capsys.readouterr().out == "Things\nname        size  note\na              5  first\nlong name  12345\n"


def test_drawn_table(capsys, terminal):
    pytest.importorskip("rich")
    terminal(100)
    console.table(COLUMNS, [*ROWS, ("[bold]x", 1, "brackets stay")])
    out = capsys.readouterr().out
    assert "[bold]x" in out
    assert "12345" in out
    assert "│" in out


def test_table_wider_than_the_terminal(capsys, terminal):
    terminal(20)
    console.table(COLUMNS, ROWS, title="Things")
    assert capsys.readouterr().out == "Things\nname  a\nsize  5\nnote  first\n\nname  long name\nsize  12345\n\n"


def test_table_without_rows(capsys):
    console.table(COLUMNS, [])
    assert capsys.readouterr().out == "name  size  note\n"


def test_plain_progress_says_what_and_now_and_then_how_far(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with console.progress(100, "tracking") as bar:
        for _ in range(30):
            clock[0] += 0.5
            bar.advance()
        bar.stage("writing")
        bar.stage("writing")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "tracking\ntracking: 20 of 100\nwriting\n"


def test_progress_bar(capsys, terminal):
    pytest.importorskip("rich")
    terminal(100)
    for total in (10, None):
        with console.progress(total, "tracking") as bar:
            bar.advance(3)
            bar.stage("writing")
    assert capsys.readouterr().out == ""


def test_errors_are_one_line(capsys):
    console.error("first\nsecond")
    console.warn("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "edgetrack: first second\nedgetrack: warning: careful\n"


def test_json_refuses_what_json_cannot_say(capsys):
    console.emit_json({"name": "größe"})
    assert capsys.readouterr().out == '{\n  "name": "größe"\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        console.emit_json(float("nan"))

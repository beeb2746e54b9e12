"""The command line: every help is whole, and what may go wrong outside ends in a sentence."""

import errno
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from beam import expected, keeping
from beam.commands import app
from beam.place import Place
from beam.told import told
from beam.trouble import Trouble
from kit.embedded import EmbeddedError

ROOT = typer.main.get_command(app)


def commands(
    command: object, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


ALL = dict(commands(ROOT))


@pytest.mark.parametrize("path", list(ALL), ids=" ".join)
def test_every_help_says_what_each_thing_is_and_has_an_example(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert " / " in command.help  # type: ignore[attr-defined]
    for parameter in command.params:  # type: ignore[attr-defined]
        if "--help" in parameter.opts:
            continue
        assert " / " in (getattr(parameter, "help", None) or ""), parameter.name
        assert not any(option.startswith("--no-no-") for option in parameter.secondary_opts)
    examples = (command.epilog or "").splitlines()  # type: ignore[attr-defined]
    given = [line.partition("beam ")[2] for line in examples if line.startswith("例")]
    assert given
    for line in given:
        words = shlex.split(re.split(" [<>]", line)[0])
        assert tuple(words[: len(path)]) == path
        command.make_context("beam", words[len(path) :])  # type: ignore[attr-defined]


def test_the_first_help_tells_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "退出码" in shown
    assert "2" in shown


FULL = OSError(errno.ENOSPC, "No space left on device", "/data/lock")


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (FULL, "磁盘已满"),
        (OSError(errno.ENOSPC, "No space left on device"), "磁盘已满"),
        (PermissionError(errno.EACCES, "Permission denied", "/keys/a"), "/keys/a"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "make doctor"),
        (TimeoutError(), "make doctor"),
        (EmbeddedError("无法启动", "does not start"), "无法启动"),
        (subprocess.CalledProcessError(3, ["pg_dump", "secret"]), "pg_dump"),
        (ExceptionGroup("both", [FULL, TimeoutError()]), "磁盘已满"),
    ],
)
def test_what_goes_wrong_outside_is_a_sentence(
    problem: Exception, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, told("zh"):
        raise problem
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert "secret" not in shown


@pytest.mark.parametrize("problem", [KeyError("x"), ExceptionGroup("g", [FULL, KeyError("x")])])
def test_a_fault_of_ours_keeps_its_stack(problem: Exception) -> None:
    with pytest.raises(type(problem)), told("zh"):
        raise problem


def test_the_stack_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_TRACEBACK", "1")
    assert expected.trouble(FULL) is None


def test_a_backup_to_where_nobody_may_write_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BEAM_DATA", str(tmp_path / "data"))
    place = Place.from_environment()
    place.open()  # as a platform that runs
    (place.data / "postgres").mkdir()
    (place.data / "postgres" / "superuser.password").write_text("x")
    (tmp_path / "file").touch()
    try:
        with pytest.raises(SystemExit) as ended, told("en"):
            keeping.backup(Place.from_environment(), tmp_path / "file" / "b.tar")
    finally:
        place.close()
    assert ended.value.code == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_trouble_is_told_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), told("en"):
        raise Trouble("坏了。", "It broke.")
    assert capsys.readouterr().err == "✗ It broke.\n  坏了。\n"

"""`beam config`: what a program would run with, without what opens doors."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from beam import serving
from beam.commands import app
from beam.config import found, unread_of
from beam.programs import BY_NAME, PROGRAMS
from beam.trouble import Trouble

ADDRESS = "postgresql+asyncpg://case_svc:a-secret@db:5432/beam_case"
CASE = serving.settings_class(BY_NAME["case"])


def of(environ: dict[str, str]) -> dict[str, Any]:
    return {one.name: one for one in found(CASE, environ)}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_setting_says_what_it_is_for(program: Any) -> None:
    silent = [one.name for one in found(serving.settings_class(program), {}) if not one.says]
    assert not silent


def test_each_value_says_where_it_comes_from(tmp_path: Path) -> None:
    secret = tmp_path / "client"
    secret.write_text("another-secret\n")
    said = of(
        {
            "BEAM_DATABASE_URL": ADDRESS,
            "BEAM_CORRECTION_DAYS": "12",
            "BEAM_SERVICE_SECRET_FILE": str(secret),
        }
    )
    days = said["BEAM_CORRECTION_DAYS"]
    assert (days.value, days.origin, days.default) == ("12", "environment", "10")
    assert said["BEAM_FILE_LIMIT"].origin == "default"
    assert said["BEAM_SERVICE_SECRET"].origin == str(secret)
    assert said["BEAM_DATABASE_URL"].value == "postgresql+asyncpg://case_svc:•••@db:5432/beam_case"
    assert "secret" not in "".join(one.value for one in said.values()).replace(str(secret), "")


def test_a_secret_in_an_address_that_is_none_is_not_shown_either() -> None:
    assert of({"BEAM_NATS_URL": "nats://case:a-secret@a:4222"})["BEAM_NATS_URL"].value == (
        "nats://case:•••@a:4222"
    )


def test_what_has_to_be_set_and_is_not_is_seen() -> None:
    needed = of({})["BEAM_DATABASE_URL"]
    assert (needed.value, needed.default) == (None, None)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(Trouble, match="BEAM_SERVICE_SECRET_FILE"):
        of({"BEAM_SERVICE_SECRET_FILE": "/not/there"})


def test_what_no_program_reads_is_told_and_what_another_reads_is_not() -> None:
    environ = {"BEAM_CORECTION_DAYS": "3", "BEAM_WECHAT_MCHID": "1", "BEAM_DATA": "x", "HOME": "y"}
    assert unread_of(environ) == ["BEAM_CORECTION_DAYS"]


def test_the_command_ends_with_1_for_what_nobody_reads_and_with_2_for_what_is_wrong() -> None:
    run = CliRunner().invoke
    known = {"BEAM_DATABASE_URL": ADDRESS}
    assert run(app, ["config", "case"], env=known).exit_code == 0
    odd = run(app, ["config", "case", "--json"], env={**known, "BEAM_CORECTION_DAYS": "3"})
    assert odd.exit_code == 1
    assert json.loads(odd.stdout)["unread"] == ["BEAM_CORECTION_DAYS"]
    assert "a-secret" not in odd.output
    wrong = run(app, ["config", "case"], env={**known, "BEAM_CORRECTION_DAYS": "soon"})
    assert wrong.exit_code == 2
    assert "BEAM_CORRECTION_DAYS" in wrong.stderr

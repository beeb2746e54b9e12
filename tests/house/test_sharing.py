"""`make test` deals out the files that there are, and those that share a platform together."""

import subprocess
import sys
from itertools import groupby

from ..sharing import FIRST, TOGETHER, scope
from .conftest import ROOT


def test_every_file_named_is_there() -> None:
    named = [
        f"{folder}/{name}" for folder, groups in TOGETHER.items() for g in groups for name in g
    ]
    assert len(named) == len(set(named))
    files = [name for name in (*named, *FIRST) if not name.endswith("*")]
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert all(scope(name) == name for name in FIRST), "a group is named by its first file"


def test_one_platform_one_process() -> None:
    assert scope("tests/flows/test_once.py::test_x[1]") == scope("tests/flows/test_fuzz.py::test_y")
    assert scope("tests/flows/test_once.py::test_x") != scope("tests/flows/test_rights.py::test_y")
    assert scope("tests/kit/test_tokens.py::test_x") == "tests/kit/test_tokens.py"
    assert scope("tests/flows/test_new.py::test_x") == "tests/flows/test_fuzz.py"


def test_file_after_file() -> None:
    """Also where files have both, tests that run on a loop and tests that do not."""
    files = ["tests/deploy/test_serving.py", "tests/deploy/test_broker.py"]
    words = ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line]
    assert [file for file, _ in groupby(ids)] == files

"""How `make test` deals files out to its processes.

A file goes to one process as a whole, as its fixtures are shared. Files that use the same running
platform go to the same process, since a platform costs more than most tests; what takes long goes
first, so that no process is left alone with it at the end.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest

TOGETHER = {
    "tests/flows": (
        ("test_fuzz.py", "test_once.py", "test_agents.py", "*"),
        ("test_bad_input.py", "test_rights.py", "test_journey.py", "test_privacy.py"),
    ),
    "tests/observe": (("test_files.py", "test_platform.py", "test_prometheus.py"),),
}
"""Folder → the files that share a platform; `*`: all that are not named. All of `flows` on one
platform would take too long."""
FIRST = (
    "tests/flows/test_bad_input.py",
    "tests/flows/test_fuzz.py",
    "tests/run/test_supervisor.py",
    "tests/observe/test_sealed.py",
    "tests/run/test_refusals.py",
    "tests/observe/test_files.py",
    "tests/readme/test_readme.py",
    "tests/faults/test_checks.py",
    "tests/kit/test_embedded.py",
    "tests/deploy/test_broker.py",
    "tests/bench/test_bench.py",
    "tests/browser/test_reference.py",
)
"""The longest ones, longest first; a group by its first file."""
_SCOPES = {
    f"{folder}/{name}": f"{folder}/{names[0]}"
    for folder, groups in TOGETHER.items()
    for names in groups
    for name in names
}


def scope(nodeid: str) -> str:
    """What goes to one process together with this test: a file, named by its first one."""
    file = nodeid.partition("::")[0]
    others = f"{file.rpartition('/')[0]}/*"
    return _SCOPES.get(file) or _SCOPES.get(others, file)


def rank(item: "pytest.Item") -> tuple[int, str]:
    """Tests are dealt out in this order."""
    whose = scope(item.nodeid)
    return (FIRST.index(whose), whose) if whose in FIRST else (len(FIRST), "")


def modules(process: int, of: int) -> Iterator[str]:
    """The names of all files of tests; each of the processes begins at another place."""
    root = Path(__file__).parent
    files = sorted(root.rglob("test_*.py"))
    begin = process * len(files) // of
    for file in files[begin:] + files[:begin]:
        yield ".".join(file.relative_to(root.parent).with_suffix("").parts)


def load(config: "pytest.Config") -> None:
    """Import what the collection of all tests will. pytest rewrites the assertions of a file that
    is new to it and keeps the result on the disk: where all begin with the same file, each process
    does so for every file."""
    process: dict[str, Any] = getattr(config, "workerinput", {})
    if process and config.args == config.getini("testpaths"):
        for name in modules(int(process["workerid"].removeprefix("gw")), process["workercount"]):
            import_module(name)


class Sharing(LoadScopeScheduling):  # type: ignore[misc]
    """xdist's `loadscope` by these scopes, in the order of the collection."""

    def __init__(self, config: Any, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)

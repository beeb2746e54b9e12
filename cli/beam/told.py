"""What every command shares: its language, and how a Trouble is shown."""

import getpass
import sys
from typing import Annotated

import typer

from .trouble import Trouble

Language = Annotated[
    str, typer.Option("--lang", help="zh 或 en / zh or en", envvar="BEAM_LANG", show_default=True)
]


class told:
    """Shows a Trouble, and what went wrong outside of us, as its sentence; exit code 2."""

    def __init__(self, lang: str) -> None:
        self._lang = lang

    def __enter__(self) -> None:
        if self._lang not in ("zh", "en"):
            self._lang = "zh"

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if problem is None or not isinstance(problem, Exception):
            return
        from .expected import trouble

        said = trouble(problem)
        if said is not None:
            from .screen import failure

            failure(said.zh, said.en, self._lang)
            sys.exit(2)


def who(said: str) -> str:
    """Who it is that gives the command: as `said`, else the user of this machine. Raises Trouble
    where nobody has a name: in a container."""
    try:
        return said or getpass.getuser()
    except (KeyError, OSError):
        raise Trouble("请用 --by 写明是谁。", "Say who you are: --by NAME.") from None

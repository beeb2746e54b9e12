"""What every command shares: its language, and how a Trouble is shown."""

import getpass
import sys
from typing import Annotated

import typer

from .trouble import Trouble

Language = Annotated[
    str, typer.Option("--lang", help="zh 或 en", envvar="BEAM_LANG", show_default=True)
]


class told:
    """Shows a Trouble as its sentence, and ends with exit code 2."""

    def __init__(self, lang: str) -> None:
        self._lang = lang

    def __enter__(self) -> None:
        if self._lang not in ("zh", "en"):
            self._lang = "zh"

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, Trouble):
            from .screen import failure

            failure(problem.zh, problem.en, self._lang)
            sys.exit(2)


def who(said: str) -> str:
    """Who it is that gives the command: as `said`, else the user of this machine. Raises Trouble
    where nobody has a name: in a container."""
    try:
        return said or getpass.getuser()
    except (KeyError, OSError):
        raise Trouble("请用 --by 写明是谁。", "Say who you are: --by NAME.") from None

"""What every command shares: its language, and how a Trouble is shown."""

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

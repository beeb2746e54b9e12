"""How the platform that runs on this data folder does: every program asked whether it is ready."""

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .place import Place
from .programs import PROGRAMS, Program

SECONDS = 5.0


def of(place: Place) -> dict[str, list[str] | None] | None:
    """Program → why it is not ready (empty: it is), None where it gives no answer. None of it
    while the platform is still starting."""
    try:
        started = json.loads(place.run_file.read_text())["pids"]
    except (OSError, ValueError, KeyError):
        return None
    programs = [program for program in PROGRAMS if program.name in started]
    with ThreadPoolExecutor(len(programs) or 1) as threads:
        said = list(threads.map(lambda program: _ask(place, program), programs))
    return {program.name: one for program, one in zip(programs, said, strict=True)}


def _ask(place: Place, program: Program) -> list[str] | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{place.url(program)}/health/ready", timeout=SECONDS) as answer:
            return _reasons(json.load(answer))
    except urllib.error.HTTPError as refused:
        with refused:
            try:
                return _reasons(json.load(refused)) or [str(refused.code)]
            except ValueError:
                return [str(refused.code)]
    except (OSError, ValueError):
        return None


def _reasons(said: Any) -> list[str]:
    return [str(reason) for reason in said.get("reasons", [])] if isinstance(said, dict) else []

"""`beam config NAME`: the settings of a program as they stand, whence, and what each is for.

In containers: `make config SERVICE=case`. Secrets are never shown, only whether they are set.
"""

import ast
import inspect
import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr, ValidationError
from rich.console import Console

from . import serving, setting_files
from .programs import PROGRAMS, Program

OTHERS = frozenset(
    f"BEAM_{name}"
    for name in (
        # Of whoever serves a program, and of the command line.
        "DATABASE_PASSWORD", "DATABASE_PASSWORD_FILE", "DRAIN_SECONDS", "LANG", "TRACEBACK",
        "REPORTS", "CRASH", "PLANT",
        # Of `beam run`, of the first installation, of compose.
        "DATA", "PORT_BASE", "VIA_BASE", "PROCS", "PRELOAD", "SANDBOX_URL", "POSTGRES_URL",
        "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "CA_FILE", "DOMAIN", "TLS", "IMAGE",
        "VERSION",
    )
)  # fmt: skip
"""What is read beside the settings of programs."""
_SECRET = "•••"


@dataclass(frozen=True)
class Setting:
    """One of a program's settings as it stands."""

    name: str
    value: str | None
    """In effect, as one would set it; None: it is needed and not set."""
    origin: str
    """`environment`, `default`, or the file that `<name>_FILE` names."""
    default: str | None
    """None: there is none, it has to be set."""
    says: str


def show(program: Program, *, as_json: bool) -> int:
    """Print what `program` would run with in our environment; 1 when a variable that begins with
    BEAM_ is read by nobody here, as a misspelt one. Raises Trouble for settings that are wrong,
    after they are printed."""
    cls = serving.settings_class(program)
    settings, unread = found(cls, os.environ), unread_of(os.environ)
    if as_json:
        told = {"settings": [asdict(one) for one in settings], "unread": unread}
        print(json.dumps({"program": program.name, **told}, ensure_ascii=False, indent=1))
    else:
        _print(settings, unread)
    setting_files.read(os.environ, setting_files.names_of(cls))
    try:
        cls()
    except ValidationError as problem:
        raise setting_files.wrong(cls, problem) from None
    return 1 if unread else 0


def found(cls: Any, environ: Mapping[str, str]) -> list[Setting]:
    """Every setting of the class, in the order in which they are written there. Raises Trouble for
    a file that cannot be read."""
    names, whole = setting_files.names_of(cls), dict(environ)
    files = {name: whole[f"{name}_FILE"] for name in names if f"{name}_FILE" in whole}
    setting_files.read(whole, names)
    return list(_found(cls, whole, files))


def _found(cls: Any, environ: Mapping[str, str], files: Mapping[str, str]) -> Iterator[Setting]:
    meanings, prefix = _meanings(cls), cls.model_config.get("env_prefix", "")
    for field, about in cls.model_fields.items():
        name = f"{prefix}{field}".upper()
        raw = environ.get(name)
        origin = files.get(name, "environment") if raw is not None else "default"
        secret = SecretStr in (about.annotation, type(about.default))
        default = None if about.is_required() else _shown(_plain(about.default), secret=secret)
        value = default if raw is None else _shown(raw, secret=secret)
        yield Setting(name, value, origin, default, meanings.get(field, "") or _address(field))


def _meanings(cls: Any) -> dict[str, str]:
    """Field → what stands below it, or in its description."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.partition(".")[0].startswith(("pydantic", "builtins", "typing")):
            told |= dict(_docstrings(ast.parse(textwrap.dedent(inspect.getsource(base)))))
    described = {f: a.description for f, a in cls.model_fields.items() if a.description}
    return told | described


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for before, after in pairwise(body):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=field)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield field, " ".join(text.split())


def _address(field: str) -> str:
    service = field.removesuffix("_url")
    return f"Address of {service}." if service != field else ""


def _plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (tuple, list, dict, bool)) else str(value)


def _shown(value: str, *, secret: bool) -> str:
    return _veiled(value) if secret or ("://" in value and "@" in value) else value


def _veiled(secret: str) -> str:
    """An address without what opens it; of all else only whether there is something."""
    if not secret:
        return ""
    parts = urlsplit(secret)
    if not (parts.scheme and parts.hostname):
        return _SECRET
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    shown = f"{name}:{_SECRET}@{host}" if password else parts.netloc
    return urlunsplit((parts.scheme, shown, parts.path, "", ""))


def unread_of(environ: Mapping[str, str]) -> list[str]:
    """What no program reads; one for another program is no mistake, containers share many."""
    known = set(OTHERS)
    for program in PROGRAMS:
        names = setting_files.names_of(serving.settings_class(program))
        known |= names | {f"{name}_FILE" for name in names}
    return sorted(name for name in environ if name.startswith("BEAM_") and name not in known)


def _print(settings: list[Setting], unread: list[str]) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for one in settings:
        value = "没有设置 / not set" if one.value is None else one.value
        console.print(f"{one.name}={value}", style="bold", end="")
        origin = ""
        if one.origin != "default":
            where = "环境变量 / environment" if one.origin == "environment" else one.origin
            origin = f"    ← {where}"
            if one.default:
                origin += f",默认 / default: {one.default}"
        console.print(f"{origin}\n    {one.says}")
    if unread:
        console.print("没有程序读取 / no program reads: " + ", ".join(unread))

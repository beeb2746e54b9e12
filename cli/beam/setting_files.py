"""Settings that lie in files: `BEAM_X_FILE=/run/secrets/x` means BEAM_X, as container people do it.

Also makes a database URL whole whose password comes apart, and says which setting is wrong without
showing its value.
"""

from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import ValidationError

from .trouble import Trouble

_SUFFIX = "_FILE"
_DATABASE = {
    "BEAM_DATABASE_URL": "BEAM_DATABASE_PASSWORD",
    "BEAM_POSTGRES_URL": "BEAM_POSTGRES_PASSWORD",
}


def names_of(settings: Any) -> set[str]:
    """The environment variables that a settings class reads."""
    prefix = settings.model_config.get("env_prefix", "")
    return {f"{prefix}{field}".upper() for field in settings.model_fields}


def read(environ: MutableMapping[str, str], known: Iterable[str]) -> None:
    """Put in place what lies in files, for the settings `known`; drop settings that are empty.

    Raises Trouble, naming setting and file, when one cannot be read or both are set.
    """
    for name in [n for n, value in environ.items() if n.startswith("BEAM_") and not value]:
        del environ[name]
    wanted = {*known, *_DATABASE.values()}
    for name in sorted(wanted):
        file = environ.get(name + _SUFFIX)
        if file is None or name + _SUFFIX in wanted:
            continue
        if name in environ:
            raise Trouble(
                f"{name} 与 {name}_FILE 只能设置一个。",
                f"Set only one of {name} and {name}_FILE.",
            )
        environ[name] = _content(name + _SUFFIX, file)
    for url, password in _DATABASE.items():
        if password in environ and url in environ:
            environ[url] = _with_password(environ[url], environ.pop(password))


def check_keys(settings: Any) -> None:
    """Whether the keys of the sealed fields are there and can be read, before anything starts.
    Raises Trouble, naming setting and file; never what stands in it."""
    from kit.secrets import Vault

    if not hasattr(settings, "vault_key_file"):
        return
    file: Path | None = settings.vault_key_file
    if file is None:
        if settings.environment == "production":
            raise Trouble(
                "缺少字段加密密钥。请设置 BEAM_VAULT_KEY_FILE。",
                "The key of the sealed fields is missing: set BEAM_VAULT_KEY_FILE.",
            )
        return
    try:
        Vault.from_file(file)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        why = getattr(exc, "strerror", None) or type(exc).__name__
        raise Trouble(
            f"BEAM_VAULT_KEY_FILE 的密钥文件 {file} 不能用({why})。请取回原来的那一份"
            "(secrets 的离线备份或最近的备份里有);不要新造一把:用它封存的资料再也打不开。",
            f"The key file {file} of BEAM_VAULT_KEY_FILE cannot be used ({why}). Put back the one "
            "that was there (the copy of the secrets, or the last backup, has it); do not make a "
            "new one: what was sealed with the old one could never be opened again.",
        ) from None


def _content(name: str, file: str) -> str:
    try:
        content = Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or "UTF-8?"
        raise Trouble(
            f"{name} 指定的文件 {file} 无法读取({why})。请执行 make secrets 并检查文件权限。",
            f"The file {file} of {name} cannot be read ({why}). Run make secrets and check who "
            "may read the file.",
        ) from None
    if not content:
        raise Trouble(f"{name} 指定的文件 {file} 是空的。", f"The file {file} of {name} is empty.")
    return content


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def wrong(settings: Any, problem: ValidationError) -> Trouble:
    """What is wrong with which setting, without the value: it may be a secret."""
    prefix = settings.model_config.get("env_prefix", "")
    lines = []
    for error in problem.errors(include_input=False, include_url=False, include_context=False):
        name = f"{prefix}{error['loc'][0]}".upper() if error["loc"] else "BEAM_…"
        said = "没有设置 / is not set" if error["type"] == "missing" else error["msg"]
        lines.append(f"{name}: {said}")
    text = "\n  ".join(lines)
    return Trouble(
        f"请更正这些设置:\n  {text}",
        f"Put these settings right:\n  {text}",
    )

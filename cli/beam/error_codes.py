"""Every problem code that a client may meet, as data: gathered from the kit, the services and the
gateway, for the page `/docs/errors`."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from gateway import refusals
from kit import errors

from .programs import SERVICES

_INTERNAL = (
    "internal",
    500,
    ("系统出错", "Something broke"),
    (
        "这是系统的问题。请重试;仍不成功时请提供 request_id。",
        "This is our fault. Try again; if it stays, report the request_id.",
    ),
)


def _problems() -> Iterator[type[errors.Problem]]:
    """All subclasses, of everything that the services import."""
    for program in SERVICES:
        package = import_module(program.package)
        for module in walk_packages(package.__path__, f"{program.package}."):
            if ".migrations" not in module.name and not module.name.endswith("__main__"):
                import_module(module.name)
    import_module("gateway.portal")
    waiting: list[type[errors.Problem]] = [errors.Problem]
    while waiting:
        found = waiting.pop(0)
        waiting += sorted(found.__subclasses__(), key=lambda c: (c.__module__, c.__name__))
        yield found


def gathered() -> list[dict[str, Any]]:
    """Sorted by code: `code`, `status` (all that occur), `title` and perhaps `detail` in Chinese
    and English, `from` (kit, gateway or the names of services)."""
    names = {program.package: program.name for program in SERVICES} | {
        "kit": "kit",
        "gateway": "gateway",
    }
    found: dict[str, dict[str, Any]] = {}

    def add(
        code: str,
        status: int,
        title: tuple[str, str],
        source: str,
        detail: tuple[str, str] | None = None,
    ) -> None:
        entry = found.setdefault(
            code,
            {
                "code": code,
                "status": [],
                "title": {"zh": title[0], "en": title[1]},
                "from": [],
            },
        )
        entry["status"] = sorted({*entry["status"], status})
        if source not in entry["from"]:
            entry["from"].append(source)
        if detail is not None and "detail" not in entry:
            entry["detail"] = {"zh": detail[0], "en": detail[1]}

    for problem in _problems():
        package = problem.__module__.partition(".")[0]
        if package in names:
            add(problem.code, problem.status, problem.title, names[package])
    for status, (code, title, detail) in errors.BY_STATUS.items():
        add(code, status, title, "kit", detail)
    code, title, detail = errors.OTHER_STATUS
    add(code, 400, title, "kit", detail)
    add(*_INTERNAL[:3], "kit", _INTERNAL[3])
    for code, refusal in refusals.REFUSALS.items():
        zh, en = refusal.detail
        detail = zh.format(zh="该"), en.format(en="The service")
        add(code, refusal.status, refusal.title, "gateway", detail)
    return [found[code] for code in sorted(found)]

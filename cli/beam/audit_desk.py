"""`beam audit …`: whether the sealed records are whole, from the first row to every head that is
known elsewhere.

Inside a container (`docker compose exec case python -m beam audit verify case`) it looks at that
service, on the platform that runs on this data folder at all of them. `make audit-verify` asks each
container, and gives it the heads that the container of exchange-svc knows (`beam audit heads`).
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from pydantic import ValidationError

from . import setting_files
from .helps import example
from .place import Place
from .programs import BY_NAME, SERVICES, Program
from .provision import database_of
from .secret_store import SecretStore
from .told import Language, told, who
from .trouble import Trouble

if TYPE_CHECKING:
    from kit.db import Sessions
    from kit.seals.anchors import Anchor, AnchorFile
    from kit.seals.blocks import Chain
    from kit.seals.checks import Finding

audit = typer.Typer(help="封存的记录 / records that nobody may change", no_args_is_help=True)
IN_CONTAINER = ("BEAM_DATABASE_URL", "BEAM_DATABASE_URL_FILE")
Service = Annotated[str | None, typer.Argument(help="服务,如 case;默认全部 / all by default")]
Heads = Annotated[
    typer.FileText | None,
    typer.Option(help="beam audit heads 的输出,- 为标准输入 / what it printed; - is stdin"),
]


@dataclass(frozen=True)
class Books:
    """One service's rows, its chain, and the file with the heads that were written down."""

    program: Program
    sessions: "Sessions"
    chain: "Chain"
    file: "AnchorFile | None"


@audit.command(epilog=example("audit verify", "audit verify case --heads - < heads.jsonl"))
def verify(service: Service = None, heads: Heads = None, lang: Language = "zh") -> None:
    """逐行核对封存链;有问题时退出码为 1 / check every row; exit code 1 when something is wrong."""
    with told(lang):
        code = asyncio.run(_verify(service, heads, lang))
    raise typer.Exit(code)


@audit.command(epilog=example("audit heads > heads.jsonl"))
def heads(lang: Language = "zh") -> None:
    """数据交换所知的全部链头,每行一个 JSON / the heads that exchange-svc was told of, as JSON."""
    with told(lang):
        for service, known in asyncio.run(_heard()).items():
            for one in known:
                print(json.dumps({"service": service, "block": one.block, "hash": one.hash}))


@audit.command(
    epilog=example(
        "audit accept --restored --reason 恢复了备份 --by 王敏",
        "audit accept case --reason 已查明 --by 王敏",
    )
)
def accept(
    reason: Annotated[str, typer.Option(help="原因,永久保留 / why; it is kept for ever")],
    service: Service = None,
    by: Annotated[str, typer.Option(help="谁 / who")] = "",
    restored: Annotated[
        bool, typer.Option("--restored", help="只确认恢复备份留下的 / only what a restore leaves")
    ] = False,
    heads: Heads = None,
    lang: Language = "zh",
) -> None:
    """查明之后:把现有问题连同原因写进链里,封存继续 / after it was cleared up: go on from here."""
    with told(lang):
        if service is None and not restored:
            raise Trouble(
                "请写明服务,例如 beam audit accept case;全部服务只能用 --restored。",
                "Name the service: beam audit accept case; all at once only with --restored.",
            )
        wanted = _wanted(service)
        elsewhere = asyncio.run(_elsewhere(heads))
        for program in wanted:
            asyncio.run(
                _accept(
                    program,
                    elsewhere.get(program.name, []),
                    reason,
                    who(by),
                    only_restored=restored,
                )
            )


async def _verify(service: str | None, heads: TextIO | None, lang: str) -> int:
    from kit.seals import words

    english, bad = lang == "en", False
    wanted = _wanted(service)
    elsewhere = await _elsewhere(heads)
    for program in wanted:
        async with _opened(program) as books:
            findings, size = await _examine(books, elsewhere.get(program.name, []))
            own = await _own_chains(books)
        bad = bad or bool(findings or own)
        print(f"{'✗' if findings or own else '✓'} {program.name}: {size}")
        for finding in findings:
            print(f"  {words.told(finding)[english]}")
        for sentence in own:
            print(f"  {sentence}")
        if findings:
            print(f"  → {words.advice(findings)[english]}")
    return 1 if bad else 0


async def _examine(books: Books, elsewhere: Sequence["Anchor"]) -> tuple[list["Finding"], str]:
    from kit.seals import watch
    from kit.seals.blocks import head

    written = _written(books, elsewhere)
    async with books.sessions() as session:
        last = await head(session)
        found = await watch.verify(session, books.chain, written)
    blocks = last.n if last is not None else 0
    return found, f"{blocks} 块 / blocks, {len(written)} 个外部链头 / heads known elsewhere"


def _written(books: Books, elsewhere: Sequence["Anchor"]) -> list["Anchor"]:
    return books.file.together(elsewhere) if books.file is not None else list(elsewhere)


async def _own_chains(books: Books) -> list[str]:
    """What the service's own books say: stories of cases, bookings that must balance."""
    if books.program.name == "case":
        return [story async for story in _broken_stories(books.sessions)]
    if books.program.name == "payment":
        from payment_svc import ledger

        async with books.sessions() as session:
            total = (await ledger.check(session))["total_fen"]
        return [f"账目不平 / the books do not balance: {total} fen"] if total else []
    return []


async def _broken_stories(sessions: "Sessions") -> AsyncIterator[str]:
    from sqlalchemy import select

    from case_svc import timeline
    from case_svc.models import Case, TimelineEntry

    after = ""
    async with sessions() as session:
        while True:
            cases = select(Case.id, Case.timeline_head).where(Case.id > after)
            part = (await session.execute(cases.order_by(Case.id).limit(1000))).all()
            if not part:
                return
            entries: dict[str, list[TimelineEntry]] = {id_: [] for id_, _ in part}
            theirs = select(TimelineEntry).where(TimelineEntry.case_id.in_(entries))
            for entry in await session.scalars(theirs.order_by(TimelineEntry.id)):
                entries[entry.case_id].append(entry)
            for id_, head in part:
                story = timeline.chained(entries[id_])
                place = timeline.broken_at(story, head)
                if place is None and len(story) < len(entries[id_]):
                    place = story[-1].id if story else "head"
                if place is not None:
                    yield f"办件 {id_} 的过程在 {place} 处断开 / its story breaks at {place}"
            after = part[-1].id
            session.expunge_all()


async def _elsewhere(heads: TextIO | None) -> dict[str, list["Anchor"]]:
    """Heads that exchange-svc knows, as they were given, or from its database where that is here;
    a service's container has neither. Raises Trouble."""
    from kit.seals.anchors import Anchor

    if heads is None:
        return {} if _in_container() else await _heard()
    found: dict[str, list[Anchor]] = {}
    for line in heads:
        try:
            one = json.loads(line)
            anchor = Anchor(int(one["block"]), str(one["hash"]), "", "", 0, "")
            found.setdefault(one["service"], []).append(anchor)
        except (ValueError, KeyError, TypeError):
            raise Trouble(
                "--heads 不是 beam audit heads 的输出。",
                "--heads is not what beam audit heads prints.",
            ) from None
    return found


async def _heard() -> dict[str, list["Anchor"]]:
    """Heads as exchange-svc heard of them, in a database of its own."""
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError

    from kit.seals.anchors import Anchor

    found: dict[str, list[Anchor]] = {}
    rows = text("select subject, body from feed_entry where type like '%.audit_sealed.v1'")
    async with _opened(BY_NAME["exchange"]) as books, books.sessions() as session:
        try:
            told = (await session.execute(rows)).all()
        except ProgrammingError:
            raise Trouble(
                "这里不是数据交换(exchange)的容器。", "This is not the container of exchange-svc."
            ) from None
        for subject, body in told:
            data = json.loads(body)["data"]
            one = Anchor(data["block"], data["hash"], "", "", 0, data["signature"])
            found.setdefault(subject.removeprefix("audit_"), []).append(one)
    return found


async def _accept(
    program: Program, elsewhere: Sequence["Anchor"], reason: str, by: str, *, only_restored: bool
) -> None:
    from kit.seals import watch
    from kit.seals.anchors import where

    service = program.name
    async with _opened(program) as books:
        written = _written(books, elsewhere)
        async with books.sessions.begin() as session:
            if only_restored:
                found = await watch.verify(session, books.chain, written)
                if not found:
                    print(f"✓ {service}: 无需确认 / nothing to accept")
                    return
                if any(finding.tampering for finding in found):
                    raise Trouble(
                        f"{service} 的封存记录不只是旧了,没有确认:见 beam audit verify {service}。",
                        f"The sealed records of {service} are not merely older: nothing accepted. "
                        f"See beam audit verify {service}.",
                    )
            block = await watch.accept(session, books.chain, written, by=by, reason=reason)
        if books.file is not None:
            async with books.sessions() as session:
                books.file.append(watch.line(block, await where(session)))
        assert block.accepted is not None
        print(f"✓ {service} → {block.n}: {len(block.accepted['findings'])} 项 / findings accepted")


def _wanted(service: str | None) -> tuple[Program, ...]:
    names = [program.name for program in SERVICES]
    if service is None and _in_container():
        raise Trouble(
            "容器里请写明服务,例如 beam audit verify case。",
            "Inside a container name the service: beam audit verify case.",
        )
    if service is not None and service not in names:
        raise Trouble(
            f"没有服务 {service}。可选:{', '.join(names)}。",
            f"There is no service {service}. There are: {', '.join(names)}.",
        )
    return (BY_NAME[service],) if service is not None else SERVICES


def _in_container() -> bool:
    return any(name in os.environ for name in IN_CONTAINER)


@contextlib.asynccontextmanager
async def _opened(program: Program) -> AsyncIterator[Books]:
    """Raises Trouble when there is no platform here, or a setting is wrong."""
    from kit.db import open_engine, open_sessions
    from kit.seals import watch
    from kit.seals.anchors import AnchorFile
    from kit.secrets import Vault

    kind = import_module(f"{program.package}.settings").Settings
    if _in_container():
        setting_files.read(os.environ, setting_files.names_of(kind))
        try:
            settings = kind()
        except ValidationError as problem:
            raise setting_files.wrong(kind, problem) from None
    else:
        settings = kind.model_validate(_of_place(program))
    if settings.vault_key_file is None:
        raise Trouble("请设置 BEAM_VAULT_KEY_FILE。", "Set BEAM_VAULT_KEY_FILE.")
    chain = watch.chain_of(settings, Vault.from_file(settings.vault_key_file))
    folder = settings.audit_anchor_dir
    engine = open_engine(settings.database_url.get_secret_value(), pool=1, overflow=0)
    try:
        yield Books(
            program,
            open_sessions(engine),
            chain,
            AnchorFile(folder, program.name) if folder is not None else None,
        )
    except OSError as error:
        raise Trouble(
            f"连接不到 {program.name} 的数据库({type(error).__name__})。平台是否在运行?",
            f"The database of {program.name} cannot be reached ({type(error).__name__}). "
            "Does the platform run?",
        ) from None
    finally:
        await engine.dispose()


def _of_place(program: Program) -> dict[str, object]:
    place = Place.from_environment()
    outside = os.environ.get("BEAM_POSTGRES_URL")
    if place.holder() is None and outside is None:
        raise Trouble(
            f"资料目录 {place.data} 上没有正在运行的平台。请先执行 make run。",
            f"No platform runs on the data folder {place.data}. Run make run first.",
        )
    store = SecretStore(place.data, may_write=False)
    owner, runtime = store.database_passwords()[program.name]
    admin = outside or f"postgresql://127.0.0.1:{place.postgres_port}/postgres"
    return {
        "environment": "development",
        "database_url": database_of(program.name, admin, owner, runtime).runtime_url,
        "vault_key_file": store.vault_file(program.name),
        "audit_anchor_dir": Path(os.environ.get("BEAM_AUDIT_ANCHOR_DIR", place.anchors)),
    }

"""An export as a ZIP of JSON files with a page that explains them, written while it is read: at
most one page of records is in memory."""

import json
import zipfile
from collections.abc import AsyncIterator
from html import escape
from itertools import groupby
from typing import Any

from kit.runtime import Runtime

from . import exports
from .models_exports import DataExport

INDEX = "index.html"


class _Outlet:
    """Takes what the ZIP writes and hands it on; it cannot go back, and need not."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        return None

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Deleted(Exception):
    """The copy went while it was being read: break off, so that no half is taken for the whole."""


async def stream(runtime: Runtime, export: DataExport) -> AsyncIterator[bytes]:
    """The bytes of the ZIP of a ready export. Raises Deleted."""
    outlet = _Outlet()
    async with runtime.sessions() as session:
        pages = await exports.contents(session, export.id)
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr(INDEX, index(export, pages, runtime.settings.issuer))
        yield outlet.taken()
        for part, chunks in groupby(pages, key=lambda page: page["part"]):
            with archive.open(f"{part}.json", "w") as file:
                file.write(b"[")
                written = 0
                for page in chunks:
                    async with runtime.sessions() as session:
                        found = await exports.records(
                            session, runtime.vault, export.id, page["source"], page["n"]
                        )
                    if found is None:
                        raise Deleted
                    for record in found:
                        text = json.dumps(record, ensure_ascii=False)
                        file.write((",\n" if written else "\n").encode() + text.encode())
                        written += 1
                    yield outlet.taken()
                file.write(b"\n]\n")
            yield outlet.taken()
    yield outlet.taken()


def index(export: DataExport, pages: list[dict[str, Any]], issuer: str) -> str:
    """The page that says what is in which file, in Chinese and English, and how one gets the
    documents that are not in it from the platform at `issuer`."""
    rows = []
    for part, chunks in groupby(pages, key=lambda page: page["part"]):
        group = list(chunks)
        count = sum(page["records"] for page in group)
        title, title_en = escape(group[0]["title"]), escape(group[0]["title_en"])
        rows.append(
            f'<tr><td><a href="{part}.json">{part}.json</a></td><td>{title}</td>'
            f'<td lang="en">{title_en}</td><td>{count}</td></tr>'
        )
    at = f'<a href="{escape(issuer)}/">{escape(issuer)}</a>'
    day = (export.ready_at or export.asked_at).date().isoformat()
    return f"""<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>我的数据 · My data</title>
<style>body{{font-family:sans-serif;max-width:50em;margin:2em auto;padding:0 1em}}
td,th{{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc}}</style></head><body>
<h1>我的数据 · <span lang="en">My data</span></h1>
<p>依据《中华人民共和国个人信息保护法》第四十五条,本平台于 {day} 汇集了所持有的您的个人信息。
每个文件为 JSON 格式,可用文本编辑器打开;时间为协调世界时,金额单位为分。
其中含有未脱敏的个人信息,请妥善保管。
您提交的材料原件不在其中:每份材料记录的 <code>download</code> 是原件的地址,接在 {at} 之后,
在应用中登录后取得;为空的,已由您后来提交的材料替换。</p>
<p lang="en">What the platform holds of you, gathered on {day} under article 45 of the Personal
Information Protection Law. Each file is JSON and opens in a text editor; times are UTC, amounts
are in fen. It holds personal data in clear: keep it safe. The documents that you handed in are not
in it: <code>download</code> of each record is where the document itself is, behind {at}, to be read
by an application after signing in; where it is empty, you have handed in another one since.</p>
<table><tr><th>文件 · File</th><th>内容</th><th lang="en">What</th><th>条数 · Records</th></tr>
{chr(10).join(rows)}
</table></body></html>
"""

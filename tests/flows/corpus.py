"""What no endpoint may break on: hostile, odd and merely unlucky input, as data.

Every text that could be echoed carries MARK; it must come back in no refusal and reach no log.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

MARK = f"zq{secrets.randbelow(10**16):016d}"

PATH_VALUES: tuple[str, ...] = (
    *tuple(
        quote(text, safe="~")
        for text in (
            MARK,
            f"{MARK}\x00",
            f"' or 1=1--{MARK}",
            f"%{MARK}_",
            f"{MARK}\u202e𠮷😀",
            f"{MARK}\r\nset-cookie: x=1",
            "x" * 3000 + MARK,
            "0",
            "-1",
            "9" * 400,
            "1e5",
            "NaN",
            "null",
            "_",
            "{}",
            "case_" + "0" * 32,
        )
    ),
    "%ED%A0%80" + MARK,
    "%00",
    "%ff%fe" + MARK,
    "%2e%2e%2f" + MARK,
)

QUERY_VALUES: tuple[str, ...] = (
    *PATH_VALUES,
    "",
    "-0",
    "1.5",
    "%EF%BC%91%EF%BC%92",
    "9999-99-99T25:61:61Z",
    "eyJ" + MARK,
    "AAAA" * 200,
    "====",
)

DEEP = 60_000
RAW_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "a text": f'"{MARK}"'.encode(),
    "a number": b"1",
    "NaN": b"NaN",
    "true": b"true",
    "cut off": f'{{"name": "{MARK}'.encode(),
    "not JSON": MARK.encode(),
    "a form": f"name={MARK}&x=1".encode(),
    "XML": f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;{MARK}</a>'.encode(),
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "unclosed depth": b"[" * DEEP,
    "huge whole number": b'{"a":' + b"9" * 5000 + b"}",
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": json.dumps({"name": MARK}).encode("utf-16"),
    "GBK": f'{{"name": "张三{MARK}"}}'.encode("gbk"),
    "broken UTF-8": b'{"name": "\xff\xfe' + MARK.encode() + b'"}',
    "NUL bytes": b'{"name": "\x00' + MARK.encode() + b'"}',
    "same name twice": f'{{"name": "{MARK}", "name": "{MARK}"}}'.encode(),
    "a megabyte": b'{"name": "' + b"x" * (1 << 20) + MARK.encode() + b'"}',
    "compressed": bytes.fromhex("1f8b08000000000002ff") + MARK.encode(),
    "__proto__": f'{{"__proto__": {{"admin": "{MARK}"}}}}'.encode(),
}

FIELD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    -(2**63) - 1,
    10**400,
    1.5,
    "",
    " ",
    [],
    {},
    [[[]]],
    {"a": MARK},
    [MARK],
    f"{MARK}\x00",
    f"{MARK}\ud800",
    f"\udfff{MARK}",
    f"{MARK}\u202e\u200b𠮷😀",
    "é" + "\u0301" * 1000 + MARK,
    MARK * 2000,
    f"=cmd|' /C {MARK}'!A0",
    f"<script>{MARK}</script>",
    f"'; drop table account;--{MARK}",
    f"../../{MARK}",
    "100",
    "\uff11\uff13\uff18\uff10\uff10\uff10\uff10\uff10\uff10\uff10\uff10",
    "0000-00-00",
    "9999-12-31T23:59:60+14:00",
)
RAW_VALUES: tuple[str, ...] = ("NaN", "Infinity", "-Infinity", "1e400", "-0", "9" * 5000)
"""Put into the body as they are: JSON that some parsers take and others do not."""

MASS_ASSIGNMENT: dict[str, Any] = {
    "id": MARK,
    "state": "closed",
    "version": 99,
    "level": "L4",
    "roles": ["operator"],
    "kind": "staff",
    "account_id": "acc_lisi",
    "applicant_id": "acc_lisi",
    "holder_id": "acc_lisi",
    "amount_fen": 1,
    "dept": "SAMR",
    "outcome": "approved",
    MARK: MARK,
    "\x00": 1,
    "张三 13800000001": MARK,
}

CONTENT_TYPES: tuple[str, ...] = (
    "",
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=" + MARK,
    "application/json; charset=gbk",
    "application/json; charset=" + MARK,
    "application/" + MARK + "+json",
    MARK,
)

HEADERS: dict[str, tuple[bytes, ...]] = {
    "if-match": (
        b"",
        b"*",
        b'"999999"',
        b'W/"1"',
        b'"1", "2"',
        b"1" * 400,
        MARK.encode(),
        b'"\xe5\xbc\xa0' + MARK.encode() + b'"',
        b"-1",
    ),
    "if-none-match": (b"*", MARK.encode(), b'"' + b"1" * 500 + b'"', b"\xff"),
    "idempotency-key": (
        b"",
        b'""',
        b"k" * 256,
        MARK.encode() * 20,
        b"\xe5\xbc\xa0" + MARK.encode(),
        b"a\tb" + MARK.encode(),
    ),
    "accept-language": (MARK.encode(), b"en;q=zz" * 200, b"\xff"),
    "accept": (b"text/html", MARK.encode()),
    "traceparent": (MARK.encode(), b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"),
    "x-request-id": (b"short", MARK.encode() * 10, b"\xff" * 8),
    "cookie": (b"beam_login=" + MARK.encode(), b";" * 300, b"beam_form=\xff"),
    "x-forwarded-for": (MARK.encode(), b"1, 2, 3, " + MARK.encode()),
    "x-http-method-override": (b"DELETE",),
    "content-encoding": (b"gzip", MARK.encode()),
    "range": (b"bytes=0-0,-1", MARK.encode()),
    "expect": (MARK.encode(),),
}

TOKENS: tuple[bytes, ...] = (
    b"",
    b"Bearer",
    b"Bearer " + MARK.encode(),
    b"Bearer a.b.c",
    b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    b"Basic " + MARK.encode(),
    b"Bearer \xff\xfe",
    b"Bearer " + b"x" * 9000,
)


def field_bodies(sample: dict[str, Any]) -> Iterator[bytes]:
    """The sample with one field after another made odd, one level deep and one below it."""
    places: list[tuple[str, ...]] = [(name,) for name in sample]
    for name, value in sample.items():
        if isinstance(value, dict):
            places += [(name, inner) for inner in list(value)[:3]]
    for place in places:
        for odd in FIELD_VALUES:
            yield json.dumps(_with(sample, place, odd)).encode()
        for raw in RAW_VALUES:
            text = json.dumps(_with(sample, place, "@@raw@@"))
            yield text.replace('"@@raw@@"', raw).encode()
        yield json.dumps(_without(sample, place)).encode()


def extra_bodies(sample: dict[str, Any]) -> Iterator[bytes]:
    """The sample with a field that callers must not set, or that does not exist."""
    for name, value in MASS_ASSIGNMENT.items():
        if name not in sample:
            yield json.dumps({**sample, name: value}).encode()


def _with(sample: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(sample))
    target = copy
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value
    return dict(copy)


def _without(sample: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    copy = json.loads(json.dumps(sample))
    target = copy
    for name in place[:-1]:
        target = target[name]
    del target[place[-1]]
    return dict(copy)

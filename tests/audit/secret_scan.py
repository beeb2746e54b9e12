"""Finds what looks like a secret in a text: known shapes, and values too random to be words."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

SHAPES = {
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:\s|\\n)*([A-Za-z0-9+/=\s\\]{40,})",
    "cloud key": r"\b((?:AKIA|ASIA)[0-9A-Z]{16}|LTAI[0-9A-Za-z]{16,24}|AKID[0-9A-Za-z]{16,40}"
    r"|AIza[0-9A-Za-z_-]{35})\b",
    "service token": r"\b(gh[pousr]_[0-9A-Za-z]{36}|glpat-[0-9A-Za-z_-]{20}"
    r"|xox[abprs]-[0-9A-Za-z-]{10,}|[sr]k_live_[0-9A-Za-z]{16,}|npm_[0-9A-Za-z]{36}|pypi-AgEI[0-9A-Za-z_-]{20,}"
    r"|sk-[0-9A-Za-z_-]{32,})",
    "signed token": r"\b(eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,})",
    "password in an address": r"\w://[^/\s:@\"'{}$<>]*:([^/\s@\"'{}$<>]{4,})@",
}
ASSIGNED = re.compile(
    r"""(?ix) [\w.-]* (?: secret | passw(?:or)?d | passwd | token | api_?key | access_?key
    | private_?key | credential | vault ) [\w-]* ["']? \s* [:=]+ \s* (?:
    f?b?["'] ([^"'\s]{12,}) ["'] | ([A-Za-z0-9+/_=-]{20,}) \s* $ )""",
    re.M,
)
RANDOM = re.compile(r"(?<![\w+/=-])([A-Za-z0-9+/_-]{32,}={0,2})(?![\w+/=-])")
HASH = re.compile(r"[0-9a-f]+|[0-9A-F]+")


@dataclass(frozen=True)
class Finding:
    """Something in line `line` of `place`; `mark` identifies the value without telling it."""

    place: str
    line: int
    kind: str
    mark: str


def bits(value: str) -> float:
    """Shannon entropy in bits a character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())


def _random(value: str) -> bool:
    """Whether a long word was drawn, not written: digits and both cases, no repetitions."""
    if HASH.fullmatch(value):
        return len(value) >= 64 and bits(value) > 3.5
    kinds = sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return kinds == 3 and bits(value) >= 4.4


def _mixed(value: str) -> bool:
    """One key in a thousand has no digit."""
    both = re.search(r"[a-z]", value) and re.search(r"[A-Z]", value)
    return bool(both) and len(value) >= 32 and bits(value) >= 4.2


def scan(place: str, text: str) -> Iterator[Finding]:
    """What may be a secret in `text`, each value once, its most telling kind first."""
    seen: set[str] = set()

    def found(kind: str, match: re.Match[str], value: str) -> Iterator[Finding]:
        if value not in seen:
            seen.add(value)
            mark = hashlib.sha256(value.encode()).hexdigest()[:16]
            yield Finding(place, text.count("\n", 0, match.start()) + 1, kind, mark)

    for kind, shape in SHAPES.items():
        for match in re.finditer(shape, text):
            if not match[1].isalpha() or not match[1].isupper():  # PASSWORD in an explanation
                yield from found(kind, match, match[1])
    for match in ASSIGNED.finditer(text):
        value = match[1] or match[2]
        if (
            bits(value) >= 3.2
            and (re.search(r"\d", value) or _mixed(value))
            and not re.search(r"[{}<>$()]|://", value)
        ):
            yield from found("assigned secret", match, value)
    for match in RANDOM.finditer(text):
        if _random(match[1]):
            yield from found("random text", match, match[1])

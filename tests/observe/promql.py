"""Enough of PromQL and of YAML to check our own rules and dashboards, without their programs.

`check(expression)` raises ValueError where Prometheus would refuse the expression as we write
them (unbalanced, unknown function, aggregation without a vector, a rate of something that is no
range …) and gives the metrics it names with the labels it uses of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FUNCTIONS = {
    "rate": "range",
    "increase": "range",
    "histogram_quantile": "number vector",
    "time": "",
}
AGGREGATIONS = {"sum", "min", "max", "avg", "count"}
_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<duration>\d+[smhd])
    |(?P<number>\d+(?:\.\d+)?)|(?P<text>"[^"]*")|(?P<op>==|!=|>=|<=|=~|!~|[-+*/<>(){}\[\],=]))""",
    re.VERBOSE,
)
_COMPARE = {"==", "!=", ">", "<", ">=", "<="}
_OF_SETS = {"and", "or", "unless"}


@dataclass
class Names:
    """Metric → labels that the expression matches or groups by."""

    metrics: dict[str, set[str]] = field(default_factory=dict)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"cannot read {text[at:]!r}")
            self.tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
            at = match.end()
        self.names = Names()

    def peek(self) -> str:
        return self.tokens[0][1] if self.tokens else ""

    def take(self, wanted: str | None = None, kind: str | None = None) -> str:
        if not self.tokens:
            raise ValueError("it ends too early")
        found, value = self.tokens.pop(0)
        if (wanted is not None and value != wanted) or (kind is not None and found != kind):
            raise ValueError(f"{value!r} where {wanted or kind} is needed")
        return value

    def expression(self) -> str:
        """Its type: number, vector or range."""
        left = self.term()
        while self.peek() in _COMPARE | _OF_SETS | {"+", "-", "*", "/"}:
            of_sets = self.take() in _OF_SETS
            if self.peek() in ("on", "ignoring"):
                self.take()
                self.labels()
            right = self.term()
            if "range" in (left, right):
                raise ValueError("no arithmetic with ranges")
            if of_sets and "number" in (left, right):
                raise ValueError("sets are of vectors")
            left = "vector" if "vector" in (left, right) else "number"
        return left

    def labels(self) -> set[str]:
        self.take("(")
        found = {self.take(kind="name")}
        while self.peek() == ",":
            self.take()
            found.add(self.take(kind="name"))
        self.take(")")
        return found

    def term(self) -> str:
        kind, value = self.tokens[0] if self.tokens else ("", "")
        if value == "(":
            self.take()
            inner = self.expression()
            self.take(")")
            return inner
        if kind == "number":
            self.take()
            return "number"
        name = self.take(kind="name")
        if name in AGGREGATIONS:
            return self.aggregation()
        if self.peek() == "(":
            return self.call(name)
        return self.selector(name)

    def aggregation(self) -> str:
        by: set[str] = set()
        if self.peek() == "by":
            self.take()
            by = self.labels()
        before = dict(self.names.metrics)
        self.take("(")
        if self.expression() != "vector":
            raise ValueError("an aggregation needs a vector")
        self.take(")")
        for metric, used in self.names.metrics.items():
            if metric not in before:
                used |= by
        return "vector"

    def call(self, name: str) -> str:
        if name not in FUNCTIONS:
            raise ValueError(f"no function {name}")
        self.take("(")
        wanted = FUNCTIONS[name].split()
        for number, kind in enumerate(wanted):
            if number:
                self.take(",")
            found = self.expression()
            if found != kind:
                raise ValueError(f"{name} takes a {kind}, not a {found}")
        self.take(")")
        return "number" if name == "time" else "vector"

    def selector(self, name: str) -> str:
        used = self.names.metrics.setdefault(name, set())
        if self.peek() == "{":
            self.take()
            while self.peek() != "}":
                used.add(self.take(kind="name"))
                if self.take(kind="op") not in ("=", "!=", "=~", "!~"):
                    raise ValueError("no such matcher")
                pattern = self.take(kind="text")
                re.compile(pattern[1:-1])
                if self.peek() == ",":
                    self.take()
            self.take("}")
        if self.peek() == "[":
            self.take()
            self.take(kind="duration")
            self.take("]")
            return "range"
        return "vector"


def check(expression: str) -> Names:
    parser = _Parser(expression)
    if parser.expression() not in ("vector", "number"):
        raise ValueError("a range is no result")
    if parser.tokens:
        raise ValueError(f"{parser.peek()!r} is too much")
    return parser.names


def rules(text: str) -> Iterator[dict[str, str]]:
    """The alerts of a rules file: every key with its text, blocks joined. Raises ValueError for a
    line in a form that we do not write."""
    current: dict[str, str] = {}
    block = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#") or not line.startswith("      "):
            continue
        if match := re.fullmatch(r"      - (alert): (\w+)", line):
            if current:
                yield current
            current, block = {match[1]: match[2]}, ""
        elif match := re.fullmatch(r"        (expr|for|labels|annotations):(?: (.+))?", line):
            block = match[1]
            current[block] = "" if match[2] in (None, "|") else match[2]
        elif line.startswith("          ") and block:
            current[block] += " " + line.strip()
        else:
            raise ValueError(f"not as we write rules: {line!r}")
    if current:
        yield current

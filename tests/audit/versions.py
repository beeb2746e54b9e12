"""What the lock files and deploy/compose.yaml name, for the tests of the audit."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pins(lock: str) -> dict[str, str]:
    """Package → version of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", (ROOT / lock).read_text("utf-8"), re.M))


def compose_images() -> list[tuple[str, str]]:
    """(name, tag) of every image that deploy/compose.yaml starts or builds on, as it is unless an
    operator says otherwise."""
    text = (ROOT / "deploy/compose.yaml").read_text("utf-8")
    found = re.findall(r"^ +(?:image|PYTHON_IMAGE): (\S+)", text, re.M)
    plain = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image) for image in found]
    return [(name.rpartition("/")[2], tag) for name, tag in (i.rsplit(":", 1) for i in plain)]


def older(version: str, floor: str) -> bool:
    """Whether `version` comes before `floor`, number by number."""
    a, b = ([int(n) for n in re.findall(r"\d+", text)] for text in (version, floor))
    length = max(len(a), len(b))
    return a + [0] * (length - len(a)) < b + [0] * (length - len(b))

"""The threat model names files that exist, and looks at every border from all six sides."""

import re

from .versions import ROOT

TEXT = (ROOT / "docs/threat-model.md").read_text("utf-8")


def test_every_named_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 60
    missing = [link for link in links if not (ROOT / "docs" / link).resolve().is_file()]
    assert missing == []
    spoken = re.findall(r"`((?:[\w-]+/)+[\w-]+\.\w+)`", TEXT)
    assert [name for name in spoken if not (ROOT / name).is_file()] == []


def test_every_border_has_measures_with_their_proof() -> None:
    drawing, _, tables = TEXT.partition("## Border by border")
    assert set(re.findall(r"\bB\d\b", drawing)) == set(re.findall(r"^### (B\d)", tables, re.M))
    seen: set[str] = set()
    for row in re.findall(r"^\| ([STRIDE]) \|(.*)\|$", tables, re.M):
        threat, measure, proof = (cell.strip() for cell in row[1].split("|"))
        assert threat, row
        assert measure, row
        assert "](" in proof, f"no proof: {threat}"
        seen.add(row[0])
    assert seen == set("STRIDE")


def test_it_says_what_remains() -> None:
    remains = TEXT.partition("## What remains")[2]
    assert len(re.findall(r"^- \*\*", remains, re.M)) >= 5

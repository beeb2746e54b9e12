"""Every rule of tests/audit/rules has examples of what it finds and of what it leaves alone.

`make audit` compares the examples with what semgrep says, and runs the rules over our code. Here
the same is done where `make audit` has installed it; what the examples hold is checked always.
"""

import re
import subprocess

import pytest

from .versions import ROOT

RULES = ROOT / "tests/audit/rules"
SEMGREP = ROOT / ".audit/bin/semgrep"


def _ids(text: str) -> list[str]:
    return re.findall(r"^  - id: ([a-z-]+)$", text, re.M)


def test_every_rule_has_examples_of_both_kinds() -> None:
    seen: list[str] = []
    for file in sorted(RULES.glob("*.yaml")):
        rules, examples = file.read_text("utf-8"), file.with_suffix(".py").read_text("utf-8")
        for rule in _ids(rules):
            seen.append(rule)
            assert re.search(rf"# ruleid: {rule}$", examples, re.M), f"{rule}: nothing to find"
            assert re.search(rf"# ok: {rule}$", examples, re.M), f"{rule}: nothing to spare"
        named = set(re.findall(r"# (?:ruleid|ok): ([a-z-]+)", examples))
        assert named == set(_ids(rules)), file.name
    assert len(seen) == len(set(seen)) >= 17


def test_what_is_excused_is_excused_by_name_and_with_a_reason() -> None:
    """`nosemgrep` without a rule's name would hide whatever comes to that line later."""
    known = {rule for file in RULES.glob("*.yaml") for rule in _ids(file.read_text("utf-8"))}
    for file in ROOT.glob("[a-z]*/**/*.py"):
        if "tests" in file.relative_to(ROOT).parts:
            continue
        for line in file.read_text("utf-8").splitlines():
            if "nosem" in line:
                found = re.search(r"# nosemgrep: ([a-z-]+)(?: -- \S.{4,})?$", line)
                assert found, f"{file.relative_to(ROOT)}: {line.strip()}"
                assert found[1] in known, line
            if "nosec" in line:
                assert re.search(r"# nosec B\d{3}$", line), f"{file.relative_to(ROOT)}: {line}"


@pytest.mark.slow
@pytest.mark.skipif(not SEMGREP.exists(), reason="semgrep comes with `make audit`")
def test_semgrep_says_the_same() -> None:
    command = [SEMGREP, "scan", "--metrics=off", "--disable-version-check", "--test", RULES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

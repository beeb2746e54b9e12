"""Answers that many operations of the merged OpenAPI document have in common, said once: some
thirteen problems may happen at every address, and were three quarters of the document."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

REF = "#/components/responses/"


def share(paths: dict[str, Any]) -> dict[str, Any]:
    """Replace what stands in `paths` more than once by a reference. Returns the answers by name,
    for `components.responses`; what succeeded stays where it is, nobody looks for it elsewhere."""
    count = Counter(_text(answers[status]) for answers, status in _refused(paths))
    named: dict[str, str] = {}
    shared: dict[str, Any] = {}
    for answers, status in _refused(paths):
        answer, text = answers[status], _text(answers[status])
        if count[text] < 2:
            continue
        if text not in named:
            named[text] = _name(status, answer, taken=shared)
            shared[named[text]] = answer
        answers[status] = {"$ref": REF + named[text]}
    return dict(sorted(shared.items()))


def _refused(paths: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for _, methods in sorted(paths.items()):
        for _, operation in sorted(methods.items()):
            for status in sorted(operation["responses"]):
                if status >= "3":
                    yield operation["responses"], status


def _text(answer: Any) -> str:
    return json.dumps(answer, sort_keys=True)


def _name(status: str, answer: dict[str, Any], *, taken: dict[str, Any]) -> str:
    """Its status and the problem that it mostly is, with a number where there are several."""
    content = answer.get("content", {}).get("application/problem+json", {})
    codes = sorted(content.get("examples", ()))
    words = re.sub(r"[^A-Za-z0-9]+", "_", codes[0] if codes else answer["description"])
    name = base = f"{status}_{words}"
    number = 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name

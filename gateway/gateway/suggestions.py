"""What somebody may want to do next: items for the tags of his profile first, then those with as
few visits as possible.

The platform keeps no count of how often an item is asked for, so none is guessed here.
"""

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar

MOST = 8
WORDS: dict[str, tuple[str, ...]] = {
    "senior": ("老年", "养老", "高龄", "敬老"),
    "minor": ("未成年", "儿童", "入学", "学生", "接种"),
    "self_employed": ("个体", "营业执照"),
    "business": ("企业", "公司", "营业执照"),
    "food_business": ("食品", "餐饮"),
    "disabled": ("残疾",),
    "resident": ("居住证",),
    "home_owner": ("不动产", "房屋", "房产"),
    "veteran": ("退役", "军人", "优抚"),
    "expectant": ("生育", "出生", "孕"),
}
"""By tag (identity-svc, data/profile.json): what stands in the name or the everyday terms of items
for those who hold it. Whoever holds a tag without words here is suggested the general ones."""


class Suggestible(Protocol):
    @property
    def code(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def everyday_terms(self) -> list[str]: ...
    @property
    def visits(self) -> int: ...


S = TypeVar("S", bound=Suggestible)


def suggested(
    items: Iterable[S], *, under_way: Collection[str | None], tags: Iterable[str]
) -> list[tuple[S, list[str]]]:
    """The best few of `items` that are not `under_way`, each with the tags that it is for."""
    held = [(tag, WORDS[tag]) for tag in tags if tag in WORDS]
    found = []
    for item in items:
        if item.code not in under_way:
            text = " ".join((item.name, *item.everyday_terms))
            found.append((item, [tag for tag, words in held if any(w in text for w in words)]))
    return sorted(found, key=lambda one: (-len(one[1]), one[0].visits))[:MOST]

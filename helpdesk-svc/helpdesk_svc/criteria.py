"""What a rating can say: levels, reasons and indicators of 好差评.

Levels and indicators follow GB/T 39734 and 39735 as published; the wording of the reasons is ours
(Annex A of GB/T 39734 lists them a level each) and can be changed, their codes cannot.
"""

from dataclasses import dataclass

OFFLINE = frozenset({"counter"})
"""Channels of cases that were handled at a window; all others count as online."""


@dataclass(frozen=True)
class Choice:
    """A code with its text, and for reasons the levels at which it can be chosen."""

    code: str
    zh: str
    en: str
    levels: tuple[int, ...] = (1, 2, 3, 4, 5)


GOOD, FAIR, BAD = (4, 5), (3,), (1, 2)

LEVELS = (
    Choice("5", "非常满意", "very satisfied", (5,)),
    Choice("4", "满意", "satisfied", (4,)),
    Choice("3", "基本满意", "fairly satisfied", (3,)),
    Choice("2", "不满意", "dissatisfied", (2,)),
    Choice("1", "非常不满意", "very dissatisfied", (1,)),
)
REASONS = (
    Choice("guide_clear", "指南清楚准确", "the guide is clear and right", GOOD),
    Choice("few_materials", "材料少,免交多", "few materials were asked for", GOOD),
    Choice("quick", "办理快,提前办结", "quick, done early", GOOD),
    Choice("kind_staff", "服务热情耐心", "kind and patient staff", GOOD),
    Choice("easy_online", "网上操作方便", "easy to use online", GOOD),
    Choice("one_visit", "一次办好,不用多跑", "done in one go", GOOD),
    Choice("could_be_quicker", "办理速度可以更快", "could be quicker", FAIR),
    Choice("could_be_simpler", "材料流程可以更简", "could be simpler", FAIR),
    Choice("guide_unclear", "指南不清楚", "the guide is unclear", FAIR + BAD),
    Choice("hard_online", "网上操作不便", "hard to use online", FAIR + BAD),
    Choice("over_time", "超过承诺时限", "took longer than promised", BAD),
    Choice("extra_materials", "要求提供指南之外的材料", "asked for more than the guide", BAD),
    Choice("repeated_materials", "已有信息仍要求提交", "asked for what is already known", BAD),
    Choice("not_told_once", "没有一次性告知", "was not told all at once", BAD),
    Choice("many_visits", "多次跑动", "had to come several times", BAD),
    Choice("bad_manner", "服务态度差", "unfriendly staff", BAD),
    Choice("improper_fee", "违规收费或指定中介", "improper fees or a forced agent", BAD),
)
ONLINE_INDICATORS = (
    Choice("efficiency", "办事效率", "efficiency"),
    Choice("guide_accuracy", "指南精确度", "accuracy of the guide"),
    Choice("convenience", "便捷度", "convenience"),
    Choice("platform", "平台操作性", "ease of the platform"),
)
OFFLINE_INDICATORS = (
    Choice("efficiency", "办事效率", "efficiency"),
    Choice("competence", "业务水平", "competence"),
    Choice("manner", "服务态度", "manner"),
)


def reasons_for(score: int) -> frozenset[str]:
    """Codes of the reasons that go with a score."""
    return frozenset(reason.code for reason in REASONS if score in reason.levels)


def indicators_for(channel: str) -> tuple[Choice, ...]:
    """The indicators that are asked about a case of this channel."""
    return OFFLINE_INDICATORS if channel in OFFLINE else ONLINE_INDICATORS

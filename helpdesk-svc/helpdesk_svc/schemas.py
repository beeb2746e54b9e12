"""Requests and answers of helpdesk-svc."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from kit.routing import In, Out
from kit.secrets import Vault

from . import criteria
from .models import Rating
from .ratings import Opinion, comment_of

Score = Annotated[int, Field(ge=1, le=5, strict=True)]
Code = Annotated[str, Field(min_length=1, max_length=40)]


class ChoiceOut(Out):
    code: str
    zh: str
    en: str
    levels: list[int] = Field(description="scores at which it can be chosen")


class CriteriaOut(Out):
    levels: list[ChoiceOut]
    reasons: list[ChoiceOut]
    online_indicators: list[ChoiceOut]
    offline_indicators: list[ChoiceOut]

    @classmethod
    def present(cls) -> Self:
        return cls.model_validate(
            {
                "levels": criteria.LEVELS,
                "reasons": criteria.REASONS,
                "online_indicators": criteria.ONLINE_INDICATORS,
                "offline_indicators": criteria.OFFLINE_INDICATORS,
            }
        )


class IndicatorsIn(In):
    """Those that are asked for the way of handling, see /v1/ratings/criteria."""

    efficiency: Score | None = None
    guide_accuracy: Score | None = None
    convenience: Score | None = None
    platform: Score | None = None
    competence: Score | None = None
    manner: Score | None = None


class SubmitIn(In):
    score: Score = Field(description="1 very dissatisfied … 5 very satisfied")
    reasons: list[Code] = Field(default=[], max_length=10)
    indicators: IndicatorsIn = IndicatorsIn()
    comment: str | None = Field(default=None, max_length=500)

    def opinion(self) -> Opinion:
        reasons = list(dict.fromkeys(self.reasons))
        indicators = self.indicators.model_dump(exclude_none=True)
        return Opinion(self.score, reasons, indicators, self.comment)


class ReceivedOut(Out):
    """A rating as the department reads it: without who gave it."""

    id: str
    case_id: str
    item_code: str
    item_name: str
    channel: str
    outcome: str
    region: str
    dept: str
    score: int | None
    reasons: list[str]
    indicators: dict[str, int]
    comment: str | None
    rated_at: datetime | None

    @classmethod
    def of(cls, vault: Vault, row: Rating) -> Self:
        told: dict[str, Any] = {name: getattr(row, name) for name in cls.model_fields}
        return cls.model_validate(told | {"comment": comment_of(vault, row)})


class RatingOut(ReceivedOut):
    """A rating as its giver reads it."""

    state: Literal["invited", "rated", "lapsed"]
    due: date = Field(description="last day in Beijing on which it can be given")
    invited_at: datetime


class PolicyIn(In):
    working_days: int = Field(ge=1, le=250, strict=True)


class PolicyOut(Out):
    region: str = Field(description="six digits of GB/T 2260, or `_` for the whole city")
    working_days: int

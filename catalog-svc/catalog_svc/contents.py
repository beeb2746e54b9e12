"""What a version of an item says. Staff write it, publication freezes it, everyone reads it.

Rules that a province checks when items are reported are checked here: limits, visits, codes.
Messages are bilingual; a value is never echoed.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from . import codes
from .codes import BadCode

Kind = Literal["person", "enterprise"]
Unit = Literal["working_day", "natural_day"]
Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9-]{0,31}$", examples=["SAMR"])]
Days = Annotated[int, Field(ge=0, le=400)]

TASK_TYPES = {
    "01": "行政许可",
    "02": "行政处罚",
    "03": "行政强制",
    "04": "行政征收",
    "05": "行政给付",
    "06": "行政检查",
    "07": "行政确认",
    "08": "行政奖励",
    "09": "行政裁决",
    "10": "其他行政权力",
    "20": "公共服务",
}


def _task_type(code: str) -> str:
    if code not in TASK_TYPES:
        raise BadCode("请选择列出的事项类型。", "Choose a listed type of item.")
    return code


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)


class Option(_Part):
    """One choice of an enum field."""

    value: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$", examples=["restaurant"])]
    label: Name


class FormField(_Part):
    """One question of the form of an item."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", examples=["shop_name"])]
    label: Name
    type: Literal["text", "number", "integer", "boolean", "enum", "phone", "date"]
    required: bool
    prefill: Annotated[str, Field(pattern=r"^(profile|licence\.LT-[A-Z]+)\.[a-z_]+$")] | None = None
    """Where the answer is already known: `profile.name`, `licence.LT-BIZ.address`."""
    options: list[Option] | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: Annotated[int, Field(ge=1, le=5000)] | None = None

    @model_validator(mode="after")
    def _choices(self) -> "FormField":
        if (self.type == "enum") != bool(self.options):
            raise BadCode("选择题应列出选项,其他类型不列。", "Options belong to enum fields only.")
        return self


class MaterialNeed(_Part):
    """A material that the item asks for. What publication resolves (name, kind, source,
    licence type) is empty in a draft."""

    id: Code
    necessity: Literal["required", "optional", "deferrable"]
    form: Literal["paper", "electronic", "both"]
    copies: Annotated[int, Field(ge=1, le=20)] = 1
    name: str = ""
    kind: str = ""
    source: str = ""
    licence_type: str | None = None


class Fee(_Part):
    """What the item costs. `synthetic`: made up for demonstration, no real tariff."""

    code: Code
    amount_fen: Annotated[int, Field(ge=1, le=100_000_000)]
    synthetic: bool
    note: Text = ""


class ItemContent(_Part):
    """Everything that one version of an item says."""

    name: Name
    everyday_terms: Annotated[list[Name], Field(max_length=50)] = []
    task_type: Annotated[str, AfterValidator(_task_type)]
    use_level: Literal["1", "2", "3", "4", "5", "6"]
    catalog_code: str
    task_code: str
    codes_synthetic: bool
    server_types: Annotated[list[Literal["1", "2", "3", "4", "5", "6", "9"]], Field(min_length=1)]
    """National codes of whom it serves: 1 自然人, others organisations."""
    immediate: bool
    """即办件: decided while the applicant waits."""
    promise_days: Days
    promise_unit: Unit
    statutory_days: Days
    statutory_unit: Unit
    statutory_known: bool
    """False: no limit of the law is known, the promise stands in for it."""
    limits_verified: bool
    visits: Annotated[int, Field(ge=0, le=9)]
    online_depth: Literal["I", "II", "III", "IV"]
    bookable: bool
    handle_area: Text
    review_depts: Annotated[list[Code], Field(min_length=1, max_length=20)]
    """Departments that review in parallel; the first is the leading one."""
    review_synthetic: bool = False
    materials: Annotated[list[MaterialNeed], Field(max_length=100)]
    form_fields: Annotated[list[FormField], Field(max_length=100)]
    fee: Fee | None
    fee_note: Text = ""
    result_name: Text
    result_validity: Text
    licence_type: Annotated[str, Field(pattern=r"^LT-[A-Z]+$", examples=["LT-FOOD"])] | None
    licence_years: Annotated[int, Field(ge=1, le=99)] | None
    delivery: Annotated[list[Literal["courier", "counter"]], Field(min_length=1)]
    legal_basis: Annotated[list[Text], Field(max_length=50)]
    confidence: Literal["recalled-confident", "source-seen", "unverified", "verified"]
    """How sure the facts are, as the seed or the editor marks them."""
    note: Text = ""

    @property
    def serves(self) -> list[Kind]:
        """The kinds of account that may apply."""
        person, others = "1" in self.server_types, set(self.server_types) - {"1"}
        kinds: list[Kind] = ["person"] if person else []
        return [*kinds, "enterprise"] if others else kinds

    @model_validator(mode="after")
    def _holds_together(self) -> "ItemContent":
        codes.check_task_code(self.task_code, level=self.use_level, catalog_code=self.catalog_code)
        if self.promise_unit == self.statutory_unit and self.promise_days > self.statutory_days:
            raise BadCode(
                "承诺时限不应长于法定时限。", "A promise is not longer than the law's limit."
            )
        if self.licence_years and not self.licence_type:
            raise BadCode("没有证照时不填证照年限。", "Years belong to a licence type.")
        for named in (
            [material.id for material in self.materials],
            [field.name for field in self.form_fields],
            self.review_depts,
        ):
            if len(set(named)) != len(named):
                raise BadCode(
                    "材料、表单字段和审批部门不应重复。",
                    "Materials, form fields and reviewing departments are each named once.",
                )
        return self

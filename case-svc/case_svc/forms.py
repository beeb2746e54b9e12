"""The form of an item: values are checked as they are typed, completeness when submitted."""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from kit.errors import Invalid, pointer
from kit.secrets import Vault

from .models import Case

Values = dict[str, str | int | float | bool | None]
PHONE = re.compile(r"1[3-9]\d{9}")
LONGEST = 1000


def sealed(vault: Vault, case_id: str, values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=False)
    return vault.seal(text, bound_to=f"case|form|{case_id}")


def opened(vault: Vault, case: Case) -> Values:
    values: Values = json.loads(vault.open(case.form, bound_to=f"case|form|{case.id}"))
    return values


def _limit(field: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = field.get(name)
    return otherwise if value is None else value


def unfit(field: Mapping[str, Any], value: Any) -> tuple[str, str, str] | None:
    """(code, Chinese, English) of what to mend in one value, or None."""
    label, kind = field["label"], field["type"]
    if kind in ("number", "integer"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "number", f"请在“{label}”填写数字。", "Fill in a number."
        if kind == "integer" and not float(value).is_integer():
            return "integer", f"请在“{label}”填写整数。", "Fill in a whole number."
        low, high = _limit(field, "minimum", 0), _limit(field, "maximum", 10**9)
        if not low <= value <= high:
            return (
                "range",
                f"“{label}”应在 {low:g} 到 {high:g} 之间。",
                f"Between {low:g} and {high:g}.",
            )
        return None
    if kind == "boolean":
        if isinstance(value, bool):
            return None
        return "boolean", f"请在“{label}”选择是或否。", "Choose yes or no."
    if not isinstance(value, str):
        return "text", f"请在“{label}”填写文字。", "Fill in text."
    if len(value) > _limit(field, "max_length", LONGEST):
        return "too_long", f"“{label}”太长,请缩短。", "Too long; please shorten it."
    if "\x00" in value:
        return "text", f"“{label}”含有无法保存的字符,请删除。", "It holds a character to remove."
    if kind == "enum" and value not in [option["value"] for option in field["options"]]:
        return "choice", f"请在“{label}”选择列出的一项。", "Choose one of the listed options."
    if kind == "phone" and not PHONE.fullmatch(re.sub(r"[\s-]", "", value)):
        return "phone", f"请在“{label}”填写 11 位手机号码。", "Fill in an 11-digit mobile number."
    if kind == "date":
        try:
            date.fromisoformat(value)
        except ValueError:
            return "date", f"请在“{label}”按 2026-09-30 的样子填写日期。", "A date, 2026-09-30."
    return None


def check(item: Mapping[str, Any], values: Mapping[str, Any], *, complete: bool) -> None:
    """Raises Invalid (422) with one entry per field to mend. With `complete`, required fields
    must be there; without it (autosave) only what is there is checked."""
    fields = {field["name"]: field for field in item["form_fields"]}
    errors = []

    def add(name: str, code: str, zh: str, en: str) -> None:
        errors.append(
            {"pointer": pointer(("form", name)), "code": code, "message": zh, "message_en": en}
        )

    for name, value in values.items():
        if name not in fields:
            add(name, "extra_forbidden", "此事项没有这个字段,请删除。", "No such field here.")
        elif value not in (None, "") and (trouble := unfit(fields[name], value)):
            add(name, *trouble)
    if complete:
        for name, field in fields.items():
            if field.get("required") and values.get(name) in (None, ""):
                add(name, "missing", f"请填写“{field['label']}”。", "Please fill in this field.")
    if errors:
        raise Invalid(
            "表单中有内容需要修改,请看 errors 中逐项的说明。",
            "Some fields of the form need a change; see errors.",
            errors=errors,
        )

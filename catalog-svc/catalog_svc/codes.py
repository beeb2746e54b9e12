"""The codes of an item (国家基本目录): how they are built and checked."""

import re

from stdnum.cn import uscc

CATALOG_CODE = re.compile(r"[0-9A-Z]{12}")
LEVELS = frozenset("123456")


class BadCode(ValueError):
    """A code that does not hold together; `zh` and `en` say what to mend."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh, self.en = zh, en


def check_uscc(code: str) -> str:
    """The 统一社会信用代码 unchanged. Raises BadCode when it is not 18 characters with the right
    check character (GB 32100, MOD 31)."""
    if len(code) != 18 or not uscc.is_valid(code):
        raise BadCode(
            "统一社会信用代码应为 18 位且校验位正确,请核对。",
            "A USCC has 18 characters with a fitting check character.",
        )
    return code


def check_catalog_code(code: str) -> str:
    """The 基本编码 unchanged. Raises BadCode when it is not 12 digits or capital letters."""
    if not CATALOG_CODE.fullmatch(code):
        raise BadCode(
            "基本编码应为 12 位数字或大写字母,请核对。",
            "A catalogue code has 12 digits or capital letters.",
        )
    return code


def check_task_code(code: str, *, level: str, catalog_code: str) -> str:
    """The 实施编码 unchanged: USCC of the implementing body (18), level (1), 基本编码 (12).

    Raises BadCode when the length, the check character or one of the parts does not fit.
    """
    if len(code) != 31:
        raise BadCode("实施编码应为 31 位,请核对。", "A task code has 31 characters.")
    check_uscc(code[:18])
    if code[18] != level or level not in LEVELS:
        raise BadCode(
            "实施编码第 19 位应与行使层级一致,请核对。",
            "The 19th character of a task code is the level of the item.",
        )
    if code[19:] != check_catalog_code(catalog_code):
        raise BadCode(
            "实施编码后 12 位应与基本编码一致,请核对。",
            "The last 12 characters of a task code are the catalogue code.",
        )
    return code

"""Identity numbers, telephone numbers and names: their form, checked without asking anybody."""

import re
from datetime import date, datetime
from urllib.parse import urlsplit

from stdnum.iso7064 import mod_11_2

PHONE = re.compile(r"1[3-9][0-9]{9}")
ID_NUMBER = re.compile(r"[1-9][0-9]{16}[0-9X]")
NAME = re.compile(r"[\w·.' \-]{2,50}")
FIRM_NAME = re.compile(r"[\w·.,&'’()()《》〈〉/ \-]{2,100}")
CREDIT_CODE = re.compile(r"[1-9ANY][0-9A-HJ-NPQRTUWXY][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CODE_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
BODY_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
OLDEST = date(1800, 1, 1)


class Unfit(ValueError):
    """The text cannot be what it should be; `zh` and `en` say what to do, without the text."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh, self.en = zh, en


def phone(text: str) -> str:
    """A mainland mobile number, 11 digits; spaces, hyphens and +86 are ignored."""
    digits = re.sub(r"[\s\-]", "", text).removeprefix("+86")
    if not PHONE.fullmatch(digits):
        raise Unfit(
            "请填写 11 位手机号码,例如 138 开头的号码。",
            "Enter a mainland mobile number of 11 digits.",
        )
    return digits


def id_number(text: str) -> str:
    """A GB 11643 identity number: 18 characters, a date that was, the check character.

    The region code is not looked up: codes of former regions stay valid for life.
    """
    number = re.sub(r"[\s\-]", "", text).upper()
    if len(number) != 18:
        raise Unfit(
            f"请填写身份证号码的全部 18 位,现在是 {len(number)} 位。",
            f"Enter all 18 characters of the identity number; there are {len(number)} now.",
        )
    if not ID_NUMBER.fullmatch(number):
        raise Unfit(
            "身份证号码由 17 位数字和一位数字或 X 组成,请对照证件填写。",
            "An identity number has 17 digits, then a digit or X. Copy it from the card.",
        )
    try:
        born = datetime.strptime(number[6:14], "%Y%m%d").date()
    except ValueError:
        born = None
    if born is None or not OLDEST <= born <= date.today():
        raise Unfit(
            "身份证号码第 7 至 14 位应是出生日期,请对照证件填写。",
            "Characters 7 to 14 must be the date of birth. Copy the number from the card.",
        )
    if not mod_11_2.is_valid(number):
        raise Unfit(
            "身份证号码的最后一位与前 17 位对不上,请对照证件逐位检查。",
            "The last character does not match the others. Check it digit by digit.",
        )
    return number


def credit_code(text: str) -> str:
    """A unified social credit code (GB 32100-2015): 18 characters, both check characters.

    Checked here and not by python-stdnum: its `cn.uscc` refuses authorities with a letter (A, N,
    Y) and does not look at the check character of the organisation code within (GB 11714).
    """
    code = re.sub(r"[\s\-]", "", text).upper()
    if not CREDIT_CODE.fullmatch(code):
        raise Unfit(
            "请填写营业执照上的 18 位统一社会信用代码(不含字母 I、O、S、V、Z)。",
            "Enter the 18 characters of the unified social credit code; it has no I, O, S, V, Z.",
        )
    total = sum(LETTERS.index(c) * w for c, w in zip(code, CODE_WEIGHTS, strict=False))
    body = sum(int(c, 36) * w for c, w in zip(code[8:16], BODY_WEIGHTS, strict=True))
    if code[17] != LETTERS[-total % 31] or code[16] != "0123456789X0"[11 - body % 11]:
        raise Unfit(
            "统一社会信用代码的校验位不符,请对照营业执照逐位检查。",
            "The check characters do not match the others. Check the code digit by digit.",
        )
    return code


def firm_name(text: str) -> str:
    """A firm's name as on its licence, 2 to 100 characters."""
    cleaned = " ".join(text.split())
    if not FIRM_NAME.fullmatch(cleaned) or cleaned.isdigit():
        raise Unfit(
            "请填写营业执照上的名称(2 至 100 个字)。",
            "Enter the name as on the licence, 2 to 100 characters.",
        )
    return cleaned


def name(text: str) -> str:
    """A person's name as on the card, 2 to 50 characters."""
    cleaned = " ".join(text.split())
    if not NAME.fullmatch(cleaned) or cleaned.isdigit():
        raise Unfit(
            "请填写证件上的姓名(2 至 50 个字)。",
            "Enter the name as on the card, 2 to 50 characters.",
        )
    return cleaned


def password(text: str) -> str:
    """A new password: 10 to 128 characters, not one character over and over."""
    if not 10 <= len(text) <= 128 or len(set(text)) < 5:
        raise Unfit(
            "密码请用 10 至 128 个字符,并至少包含 5 个不同的字符。",
            "Use 10 to 128 characters with at least 5 different ones.",
        )
    return text


def redirect_uri(text: str) -> str:
    """An address that a client may be called back at: https, or http on the machine itself; no
    fragment, no user, printable ASCII."""
    try:
        place = urlsplit(text)
        host, _ = place.hostname, place.port
    except ValueError:
        host = None
    home = host in ("127.0.0.1", "::1")
    good = host and (place.scheme == "https" or (place.scheme == "http" and home))
    plain = text.isascii() and text.isprintable() and not set(' "<>\\^`{|}*') & set(text)
    if not good or not plain or "#" in text or place.username is not None:
        raise Unfit(
            "回调地址须为完整的 https 地址(本机可用 http://127.0.0.1),不含 # 和用户名。",
            "A redirect address is a whole https address (or http://127.0.0.1), without # or user.",
        )
    return text

"""Identity numbers: every wrong check character is found, every right one is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_11_2

from identity_svc import identifiers


@given(st.integers(10**16, 10**17 - 1))
def test_check_characters(body: int) -> None:
    digits = f"{str(body)[:6]}19900307{str(body)[14:]}"
    good = digits + mod_11_2.calc_check_digit(digits)
    assert identifiers.id_number(good.lower()) == good
    for wrong in "0123456789X":
        if wrong != good[-1]:
            with pytest.raises(identifiers.Unfit):
                identifiers.id_number(digits + wrong)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("91310115MA1K3AB43E", True),
        (" 9131 0115 ma1k3ab4 3e ", True),
        ("91110000600037341L", True),
        ("91310115MA1K3AB43F", False),  # the code's own check character
        ("91310115MA1K3AB53B", False),  # that of the organisation code within
        ("A1310115MA1K3AB43E", False),
        ("91310115MA1K3AB4", False),
        ("91310115MAIK3AB43E", False),  # I is not among the letters
        ("٩1310115MA1K3AB43E", False),
    ],
)
def test_unified_social_credit_codes(text: str, good: bool) -> None:
    try:
        assert (identifiers.credit_code(text) == "".join(text.split()).upper()) == good
    except identifiers.Unfit:
        assert not good


def test_a_farmers_cooperative_has_a_letter_first() -> None:
    """python-stdnum takes digits alone there; GB 32100 gives N to agriculture."""
    weights = identifiers.CODE_WEIGHTS
    body = "N2310115MA1K3AB43"
    total = sum(identifiers.LETTERS.index(c) * w for c, w in zip(body, weights, strict=True))
    assert identifiers.credit_code(body + identifiers.LETTERS[-total % 31])

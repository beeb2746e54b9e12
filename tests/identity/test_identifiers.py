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

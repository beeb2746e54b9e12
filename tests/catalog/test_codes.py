"""Codes of items hold together, and a slip of the pen is found."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catalog_svc.codes import BadCode, check_catalog_code, check_task_code, check_uscc
from catalog_svc.seed import rows

REAL = "11370800MB285591843370117002011"


def test_a_real_code_and_all_of_the_seed() -> None:
    assert check_task_code(REAL, level="3", catalog_code="370117002011") == REAL
    for item in rows("items"):
        check_task_code(
            item["task_code"], level=item["use_level"], catalog_code=item["catalog_code"]
        )
    for department in rows("departments"):
        check_uscc(department["uscc"])


@given(st.integers(0, 17), st.sampled_from("0123456789ABCDEFGHJKLMNPQRTUWXY"))
def test_one_wrong_character_of_the_uscc_is_found(place: int, character: str) -> None:
    assume(REAL[place] != character)
    wrong = REAL[:place] + character + REAL[place + 1 :]
    with pytest.raises(BadCode):
        check_task_code(wrong, level="3", catalog_code="370117002011")


@pytest.mark.parametrize(
    ("code", "level", "catalog_code"),
    [
        (REAL[:-1], "3", "370117002011"),
        (REAL, "4", "370117002011"),
        (REAL, "3", "370117002012"),
        (REAL[:18] + "9" + REAL[19:], "9", "370117002011"),
        (REAL[:19] + "37011700201-", "3", "37011700201-"),
        ("", "3", ""),
    ],
)
def test_parts_that_do_not_fit(code: str, level: str, catalog_code: str) -> None:
    with pytest.raises(BadCode) as caught:
        check_task_code(code, level=level, catalog_code=catalog_code)
    assert caught.value.zh
    assert caught.value.en


def test_catalogue_codes() -> None:
    assert check_catalog_code("370117002011")
    with pytest.raises(BadCode):
        check_catalog_code("37011700201a")

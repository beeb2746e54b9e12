import pytest
from hypothesis import given
from hypothesis import strategies as st

from licence_svc import numbers

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CODES = st.text(ALPHABET, min_size=21, max_size=21)
ISSUERS = st.text(ALPHABET, min_size=18, max_size=18)
SERIALS = st.text(ALPHABET, min_size=1, max_size=20)
EDITIONS = st.integers(0, 999)


def checks_out(number: str) -> bool:
    """ISO 7064 MOD 37,36 written out from the standard: the end of the recursion is 1."""
    text = number.removeprefix(f"{numbers.ROOT}.").replace(".", "")
    product = 36
    for character in text[:-1]:
        total = (product + ALPHABET.index(character)) % 36 or 36
        product = total * 2 % 37
    return (product + ALPHABET.index(text[-1])) % 36 == 1


@pytest.mark.parametrize(
    "known",
    [
        "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U",
        "1.2.156.3005.2.11100000000013338W009.11330105002500287C.2025052201.002.0",
        "1.2.156.3005.2.11100000000013338W032.11220000013544541J.2430599.001.F",
    ],
)
def test_numbers_found_in_public_are_reproduced(known: str) -> None:
    kind, issuer, serial, edition, _ = known.removeprefix(f"{numbers.ROOT}.").split(".")
    assert numbers.compose(kind, issuer, serial, int(edition)) == known
    assert checks_out(known)


@given(CODES, ISSUERS, SERIALS, EDITIONS)
def test_every_number_carries_its_check(kind: str, issuer: str, serial: str, edition: int) -> None:
    number = numbers.compose(kind, issuer, serial, edition)
    assert number.startswith(f"{numbers.ROOT}.{kind}.{issuer}.{serial}.{edition:03d}.")
    assert checks_out(number)


@given(CODES, ISSUERS, SERIALS, EDITIONS, st.data())
def test_one_wrong_character_is_found(
    kind: str, issuer: str, serial: str, edition: int, data: st.DataObject
) -> None:
    number = numbers.compose(kind, issuer, serial, edition)
    start = len(numbers.ROOT) + 1
    place = data.draw(st.sampled_from([i for i in range(start, len(number)) if number[i] != "."]))
    other = data.draw(st.sampled_from(ALPHABET.replace(number[place], "")))
    assert not checks_out(number[:place] + other + number[place + 1 :])


@pytest.mark.parametrize(
    ("kind", "issuer", "serial", "edition"),
    [
        ("1" * 20, "2" * 18, "1", 1),
        ("1" * 21, "2" * 17, "1", 1),
        ("1" * 21, "2" * 18, "", 1),
        ("1" * 21, "2" * 18, "a1", 1),
        ("1" * 21, "2" * 18, "1" * 21, 1),
        ("1" * 21, "2" * 18, "1", 1000),
    ],
)
def test_parts_out_of_form_are_refused(kind: str, issuer: str, serial: str, edition: int) -> None:
    with pytest.raises(ValueError, match="form"):
        numbers.compose(kind, issuer, serial, edition)

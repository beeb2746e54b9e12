"""Made-up people: every name, number, address and sentence of theirs is found nowhere else."""

import random
from dataclasses import dataclass, fields

from stdnum.iso7064 import mod_11_2

# Rare characters of the extensions B and C and rare ones of the first plane: names that exist.
RARE = "𠮷㼆𡛕䶮堃喆翀犇龘燚骉爨麤靐䲜鱻羴毳淼皛"
PLACES = "禊赑岙圐圙囧槑嫑烎砳歘昺"


@dataclass(frozen=True)
class Person:
    """What somebody entrusts to the platform. Every field is planted and searched for."""

    name: str
    id_number: str
    phone: str
    password: str
    receiver: str
    mobile: str
    street: str
    shop: str
    """Goes into the text fields of the form."""
    file: str
    """Stands in every uploaded document."""
    comment: str
    """Free text of the rating."""
    purpose: str
    """Why the licence is shown."""

    def planted(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class People:
    """Gives a new person each time; the same seed gives the same people."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.given: list[Person] = []

    def _word(self, length: int, letters: str = "bcdfghjkmnpqrstvwxyz") -> str:
        return "".join(self._random.choice(letters) for _ in range(length))

    def _phone(self) -> str:
        return "19" + self._word(9, "0123456789")

    def new(self) -> Person:
        """A person whose identity number is well-formed and whose names are rare."""
        number = f"659004{self._random.randint(1930, 2005)}{self._random.randint(1, 12):02d}"
        number += f"{self._random.randint(1, 28):02d}{self._random.randint(0, 999):03d}"
        tail = self._word(4)
        person = Person(
            name=self._word(1, RARE) + self._word(2, RARE) + "·" + self._word(3, RARE),
            id_number=number + mod_11_2.calc_check_digit(number),
            phone=self._phone(),
            password=f"Geheim-{self._word(12)}-77",
            receiver=self._word(4, RARE) + "收",
            mobile=self._phone(),
            street=f"{self._word(5, PLACES)}弄{self._random.randint(1000, 9999)}号{tail}室",
            shop=f"{self._word(6, RARE)}饭铺{tail}",
            file=f"BEGLAUBIGT{self._word(16)}",
            comment=f"{self._word(5, RARE)}办得好{tail}",
            purpose=f"{self._word(5, RARE)}核对{tail}",
        )
        self.given.append(person)
        return person

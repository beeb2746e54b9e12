"""The base of payment-svc's tables."""

from typing import Annotated

from sqlalchemy import BigInteger
from sqlalchemy.orm import mapped_column

from kit.db import ServiceBase, new_metadata

Fen = Annotated[int, mapped_column(BigInteger)]


class Base(ServiceBase):
    metadata = new_metadata()

"""The base of the tables, which stand in models.py, models_personal.py, models_agency.py
and models_sign_in.py."""

from typing import Annotated

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import mapped_column

from kit.db import ServiceBase, new_metadata

Texts = Annotated[list[str], mapped_column(ARRAY(String()))]


class Base(ServiceBase):
    metadata = new_metadata()

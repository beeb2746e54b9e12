"""Ids: a short prefix that tells the kind, then a UUIDv7, so that ids sort by time of birth."""

import os
import time
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f6e6562-6561-6d00-8000-000000000001")


def uuid7() -> UUID:
    """RFC 9562 version 7: 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=value)


def new_id(prefix: str) -> str:
    """`case_0192f3c47b1e7c3a9b556f3c2a1d4e5f`"""
    return f"{prefix}_{uuid7().hex}"


def born(made: str) -> float | None:
    """When an id of `new_id` was made, in seconds since 1970, exact to a millisecond; None for
    any other text."""
    try:
        found = UUID(hex=made.rpartition("_")[2])
    except ValueError:
        return None
    return (found.int >> 80) / 1000 if found.version == 7 else None


def derived_uuid(*parts: str) -> UUID:
    """The same UUID for the same parts."""
    return uuid5(_NAMESPACE, "|".join(parts))


def derived_id(prefix: str, *parts: str) -> str:
    """The same id for the same parts, so that a repeated step meets what it made before."""
    return f"{prefix}_{derived_uuid(prefix, *parts).hex}"

"""The two kinds of findings."""


class Lasting(str):
    """A sentence about something that can never come right by itself."""

    __slots__ = ()

"""The base of every event, the envelope it travels in, and the register of all of them."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

EVENTS: dict[str, type["Event"]] = {}
NO_PLACE = "_"


class Event(BaseModel):
    """The data of a fact that happened: past tense, versioned by its type, never edited.

    Carries ids, codes, amounts (fen), dates and states; never a name, an identity number,
    a telephone number or an address.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    TYPE: ClassVar[str] = ""
    """`<service>.<what_happened>.v<n>`, for example `case.task_assigned.v1`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__name__.startswith("_"):
            return
        if len(cls.TYPE.split(".")) != 3:
            raise TypeError(f"{cls.__name__}.TYPE must read <service>.<what_happened>.v<n>")
        if cls.TYPE in EVENTS:
            raise TypeError(f"two events claim the type {cls.TYPE}")
        EVENTS[cls.TYPE] = cls

    @classmethod
    def owner(cls) -> str:
        return cls.TYPE.split(".")[0]


class Envelope(BaseModel):
    """A CloudEvents 1.0 event in structured JSON, as it lies in the outbox and on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: UUID = Field(default_factory=uuid4)
    source: str
    """`/beam/<service>`"""
    type: str
    """`cn.beam.` + the event's TYPE"""
    subject: str
    """The id of the thing (aggregate) that it happened to."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    region: str = NO_PLACE
    """Six digits of GB/T 2260, or `_`."""
    dept: str = NO_PLACE
    """Code of the department whose matter it is, or `_`."""
    actor: str | None = None
    """Account or service id of who caused it."""
    onbehalfof: str | None = None
    """For whom the actor did it, when that is somebody else."""
    aggregateversion: int
    """Counts the versions of `subject`: order and gaps are told from it, never from the broker."""
    traceparent: str | None = None
    correlationid: str | None = None
    """The X-Request-Id of the request that caused it."""
    data: dict[str, Any]

    @property
    def event_type(self) -> str:
        return self.type.removeprefix("cn.beam.")

    @property
    def nats_subject(self) -> str:
        return f"evt.{self.event_type}.{self.region}.{self.dept}"

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

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
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
    def schema_document(cls) -> dict[str, Any]:
        """JSON Schema of the data, as a document of its own: `$id` is what `dataschema` of each
        such event says."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"/v1/events/schemas/{cls.TYPE}",
            **cls.model_json_schema(mode="serialization"),
        }

    @classmethod
    def owner(cls) -> str:
        return cls.TYPE.split(".")[0]


class Envelope(BaseModel):
    """A CloudEvents 1.0 event in structured JSON, as it lies in the outbox and on the wire."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    specversion: Literal["1.0"] = "1.0"
    id: UUID = Field(default_factory=uuid4)
    """Names the event for good: who has this id has the event, however often it comes."""
    source: str
    """`/beam/<service>`"""
    type: str
    """`cn.beam.` + the event's TYPE"""
    subject: str
    """The id of the thing (aggregate) that it happened to."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it happened, UTC."""
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    """Where the JSON Schema of `data` is read."""
    region: str = NO_PLACE
    """Six digits of GB/T 2260, or `_`."""
    dept: str = NO_PLACE
    """Code of the department whose matter it is, or `_`."""
    actor: str | None = None
    """Account or service id of who caused it."""
    onbehalfof: str | None = None
    """For whom the actor did it, when that is somebody else."""
    aggregateversion: int
    """Grows with every change of `subject`, also with one that no event tells: a larger one is
    newer, a gap is no loss. Order is told from it, never from the broker."""
    traceparent: str | None = None
    """W3C Trace Context of what caused it."""
    correlationid: str | None = None
    """The X-Request-Id of the request that caused it."""
    data: dict[str, Any]
    """Ids, codes, amounts in fen, dates and states; see `dataschema`."""

    @property
    def event_type(self) -> str:
        return self.type.removeprefix("cn.beam.")

    @property
    def nats_subject(self) -> str:
        return f"evt.{self.event_type}.{self.region}.{self.dept}"

"""Requests and answers about passkeys; names and forms are those of WebAuthn Level 3."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kit.routing import In, Out

Base64url = Annotated[
    str, Field(pattern="^[A-Za-z0-9_-]+$", max_length=20_000, examples=["bXktcGFzc2tleQ"])
]


class AttestationResponse(In):
    """What the device says; further fields that a browser adds are left out."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    client_data: Annotated[Base64url, Field(alias="clientDataJSON")]
    attestation_object: Annotated[Base64url, Field(alias="attestationObject")]


class NewCredential(In):
    """`PublicKeyCredential.toJSON()` of what `navigator.credentials.create` gave."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    id: Base64url
    raw_id: Annotated[Base64url, Field(alias="rawId")]
    type: Literal["public-key"]
    response: AttestationResponse


class NewPasskey(In):
    name: Annotated[str, Field(min_length=1, max_length=60, examples=["我的手机"])]
    credential: NewCredential


class PasskeyOptions(Out):
    """For `PublicKeyCredential.parseCreationOptionsFromJSON`."""

    publicKey: Annotated[
        dict[str, Any],
        Field(examples=[{"challenge": "bXktY2hhbGxlbmdl", "rp": {"id": "beam.example"}}]),
    ]


class PasskeyView(Out):
    id: str
    name: str
    added_at: datetime

"""What a form need not ask: values that the applicant's licences and profile already say."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from kit.auth import Caller
from kit.calls import Calls
from kit.errors import NotFound, Unavailable

from .forms import Values, unfit

log = logging.getLogger(__name__)


def _sources(item: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Licence type → form field → field of the licence, from hints like `licence.LT-BIZ.name`."""
    found: dict[str, dict[str, str]] = {}
    for field in item["form_fields"]:
        source, _, rest = (field.get("prefill") or "").partition(".")
        licence_type, _, name = rest.partition(".")
        if source == "licence" and name:
            found.setdefault(licence_type, {})[field["name"]] = name
    return found


async def values(
    calls: Calls, caller: Caller, item: Mapping[str, Any], licences: Sequence[Mapping[str, Any]]
) -> Values:
    """Values for the form of a new draft, read from the caller's own licences in force and from
    the profile; one call per licence that is needed. Raises Unavailable."""
    by_type = {licence["licence_type"]: licence["id"] for licence in licences}
    fields = {field["name"]: field for field in item["form_fields"]}
    found = await _from_profile(calls, caller, fields)
    for licence_type, wanted in _sources(item).items():
        if licence_type not in by_type:
            continue
        licence = await calls.get("licence", f"/v1/licences/{by_type[licence_type]}", as_=caller)
        for name, source in wanted.items():
            value = licence["fields"].get(source)
            if value not in (None, "") and unfit(fields[name], value) is None:
                found[name] = value
    return found


async def _from_profile(
    calls: Calls, caller: Caller, fields: Mapping[str, Mapping[str, Any]]
) -> Values:
    """What hints like `profile.phone` ask for. A profile that cannot be read is only a comfort
    that is missing: the person types."""
    wanted = {
        name: hint.removeprefix("profile.")
        for name, field in fields.items()
        if (hint := field.get("prefill") or "").startswith("profile.")
    }
    if not wanted:
        return {}
    path = f"/internal/v1/accounts/{caller.subject}/profile"
    try:
        known = (await calls.get("identity", path, params={"purpose": "prefill"}))["values"]
    except (NotFound, Unavailable) as error:
        log.warning("no prefill from the profile: %s", type(error).__name__)
        return {}
    return {
        name: known[key]
        for name, key in wanted.items()
        if key in known and unfit(fields[name], known[key]) is None
    }

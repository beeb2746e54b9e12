"""A check of our own for schemathesis (runs in .audit, not in .venv; see test_fuzz.py).

Its `positive_data_acceptance` wants every request that fits the schema to succeed. Ours may be
refused for what no schema can say: a check digit, a cursor that we did not sign, the form of an
item. Each such reason is listed; any other refusal as malformed is a gap in the document.
"""

import schemathesis

RULES = {
    "bad_cursor": "cursors are signed",
    "idempotency_key_reused": "the key went with another body",
    "file_unfit": "what a file is stands in its first bytes",
    "not_proven": "whether somebody is who he says he is",
    "no_bill_yet": "a channel has bills of days that are over, for three months",
    "bad_request": "a body that is no JSON, or not UTF-8",
}
"""Problem codes with 400, 415 or 422 that speak of more than the form of a request."""
BEYOND_SCHEMA = {
    "value_error": "check digits, dates that exist, telephone numbers",
    "unstorable_character": "NUL and lone surrogates, refused everywhere alike",
    "reason_unfit": "which reasons fit depends on the score",
    "unfit": "what a named thing is: an application that is no mini programme, a mandate too long",
    "int_type": "1.0 is an integer to JSON Schema, and fen are never written so",
}

OF_THE_ITEM = ("/form", "/materials/")
"""Places of which a service item says what belongs there."""


def padded(body, pointer):  # type: ignore[no-untyped-def]
    """Whether the text at this place of the body has blanks around it, which we take off before
    we look, as people paste them; a schema counts them."""
    for part in pointer.removeprefix("/body").split("/")[1:]:
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, dict):
            body = body.get(part)
        else:
            return False
    return isinstance(body, str) and body != body.strip()


@schemathesis.check
def well_formed_is_taken(ctx, response, case):  # type: ignore[no-untyped-def]
    """A request that fits the document is not refused as malformed."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code not in (400, 415, 422) or case.path.startswith("/oauth2/"):
        return
    body = response.json()
    if body.get("code") in RULES:
        return
    wrong = [
        f"{error['pointer']}: {error['code']}"
        for error in body.get("errors", [])
        if error["code"] not in BEYOND_SCHEMA
        and not error["pointer"].startswith(OF_THE_ITEM)
        and not padded(case.body, error["pointer"])
    ]
    # (`invalid` without a list of fields is a rule of the matter, such as a code that ran out.)
    if wrong or body.get("code") != "invalid":
        raise AssertionError(f"{response.status_code} {body.get('code')} {' '.join(wrong)}")

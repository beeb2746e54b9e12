"""Pages for signing in, registering and setting a new password with a code; no script needed.

Number, then code, then (for who has no account) the rest. Each page says the same whether the
number has an account or not, until the code has proven whose it is.
"""

from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Response

from kit.auth import Public
from kit.errors import Problem

from .. import identifiers, phone_codes
from ..sign_in import phones
from .forms import Problems, form, signed_in, too_old
from .pages import error_page
from .waiting import waiting
from .web import At, Web

router = APIRouter(tags=["login"], include_in_schema=False)
CODE, REGISTER, RESET = "/oauth2/login/code", "/oauth2/register", "/oauth2/reset"
PURPOSES: dict[str, phone_codes.Purpose] = {
    CODE: "sign_in",
    REGISTER: "sign_in",
    RESET: "reset",
}
NOT_SENT = (
    "短信没有发出。请检查号码,一分钟后再试。",
    "No message went out. Check the number and try again in a minute.",
)


@dataclass
class Step:
    """What was sent with a form, and what its page shows when it comes again."""

    at: Web
    path: str
    sent: dict[str, str]
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def return_to(self) -> str:
        return self.sent.get("return_to", "")

    def of(self, name: str, longest: int = 128) -> str:
        return self.sent.get(name, "").strip()[:longest]

    async def page(self, problems: Problems | None = None, status: int = 0) -> Response:
        """The number's page, or the code's when a code is on its way."""
        shown = {"phone": "", "code_id": "", "done": "", **self.shown}
        return await form(
            self.at,
            "phone.html",
            self.path,
            self.return_to,
            status=status or (422 if problems else 200),
            problems=problems,
            **shown,
        )

    async def details(
        self, phone: str, proof: str, problems: Problems | None = None, status: int = 0
    ) -> Response:
        """The rest of a registration, with what was typed, the password excepted."""
        return await form(
            self.at,
            "register.html",
            REGISTER,
            self.return_to,
            status=status or (422 if problems else 200),
            problems=problems,
            phone=phone,
            proof=proof,
            name=self.of("name", 100),
            id_number=self.of("id_number", 40),
        )


@router.get("/oauth2/login/code")
async def code_page(at: At, _: Public, return_to: str = "") -> Response:
    """Ask for the number that a code shall go to."""
    return await Step(at, CODE, {"return_to": return_to}).page()


@router.get("/oauth2/register")
async def registration_page(at: At, _: Public, return_to: str = "") -> Response:
    """The same for who wants to register."""
    return await Step(at, REGISTER, {"return_to": return_to}).page()


@router.get("/oauth2/reset")
async def reset_page(at: At, _: Public, return_to: str = "") -> Response:
    """The same for who has forgotten a password."""
    return await Step(at, RESET, {"return_to": return_to}).page()


@router.post("/oauth2/login/code")
async def sign_in_by_code(at: At, _: Public) -> Response:
    """Send a code, or take one."""
    return await _handled(at, CODE)


@router.post("/oauth2/register")
async def register_on_page(at: At, _: Public) -> Response:
    """Send a code, take one, or register."""
    return await _handled(at, REGISTER)


@router.post("/oauth2/reset")
async def reset_on_page(at: At, _: Public) -> Response:
    """Send a code, or take one with a new password."""
    return await _handled(at, RESET)


async def _handled(at: Web, path: str) -> Response:
    sent = dict(await at.form())
    step = Step(at, path, sent)
    if not at.form_holds(sent.get("csrf", "")):
        return await step.page([("phone", too_old(step.at))])
    if step.return_to and await waiting(at, step.return_to) is None:
        return error_page(at, "invalid_request")
    name = sent.get("step")
    if name == "details" and path == REGISTER:
        return await _register(step)
    if name == "plain" and path == REGISTER:
        return await step.details(step.of("phone", 40), "")
    try:
        phone = identifiers.phone(step.of("phone", 40))
    except identifiers.Unfit as unfit:
        step.shown["phone"] = step.of("phone", 40)
        return await step.page([("phone", step.at.t(unfit.zh, unfit.en))])
    step.shown["phone"] = phone
    try:
        if name == "send":
            return await _send(step, phone)
        step.shown["code_id"] = step.of("code_id", 80)
        if path == RESET:
            return await _reset(step, phone)
        return await _enter(step, phone)
    except Problem as problem:
        place = "code" if step.shown.get("code_id") else "phone"
        response = await step.page([(place, step.at.t(problem.zh, problem.en))], problem.status)
        response.headers.update(problem.headers)
        return response


async def _send(step: Step, phone: str) -> Response:
    at = step.at
    code_id, outcome = await phone_codes.send(
        at.runtime.sessions,
        at.runtime.vault,
        at.outside.messages,
        phone=phone,
        purpose=PURPOSES[step.path],
        address=at.address(),
        per_address=at.settings.codes_per_address,
    )
    if outcome == "refused":
        return await step.page([("phone", NOT_SENT[at.english])], 503)
    step.shown["code_id"] = code_id
    return await step.page()


async def _enter(step: Step, phone: str) -> Response:
    at = step.at
    cookie = await phones.enter(
        at.door,
        phone=phone,
        code_id=step.of("code_id", 80),
        code=step.of("code", 12),
        address=at.address(),
    )
    if cookie is not None:
        return signed_in(at, cookie, step.return_to)
    return await step.details(phone, phones.ticket(at.runtime.vault, phone, at.form_key()))


async def _reset(step: Step, phone: str) -> Response:
    at = step.at
    try:
        password = identifiers.password(step.sent.get("password", ""))
    except identifiers.Unfit as unfit:
        return await step.page([("password", step.at.t(unfit.zh, unfit.en))])
    done = await phones.reset_password(
        at.door,
        phone=phone,
        code_id=step.of("code_id", 80),
        code=step.of("code", 12),
        password=password,
        address=at.address(),
    )
    step.shown["done"] = "reset" if done else "nobody"
    return await step.page()


async def _register(step: Step) -> Response:
    at, proof, problems = step.at, step.sent.get("proof", ""), []
    proven = phones.read_ticket(at.runtime.vault, proof, at.form_key()) if proof else None
    if proof and proven is None:
        return await step.page([("phone", too_old(step.at))])
    password = step.sent.get("password", "")
    read: dict[str, str] = {}
    for name, check, needed in (
        ("phone", identifiers.phone, proven is None),
        ("name", identifiers.name, True),
        ("id_number", identifiers.id_number, True),
        ("password", identifiers.password, proven is None or bool(password)),
    ):
        try:
            if needed:
                read[name] = check(step.sent.get(name, "")[:200])
        except identifiers.Unfit as unfit:
            problems.append((name, step.at.t(unfit.zh, unfit.en)))
    shown = proven or step.of("phone", 40)
    if problems:
        return await step.details(shown, proof, problems)
    try:
        cookie = await phones.register(
            at.door,
            phone=proven or read["phone"],
            proven=proven is not None,
            name=read["name"],
            id_number=read["id_number"],
            password=read.get("password"),
            address=at.address(),
        )
    except Problem as problem:
        told = [("name", step.at.t(problem.zh, problem.en))]
        return await step.details(shown, proof, told, problem.status)
    if cookie is not None:
        return signed_in(at, cookie, step.return_to)
    step.shown["done"] = "received"
    return await step.page()

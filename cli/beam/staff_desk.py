"""`beam staff add`: a member of staff from the command line; the first operator of an installation
has nobody who could add him at `/v1/staff`.

Inside the container: `docker compose exec identity python -m beam staff add o0001 --name …`.
"""

import asyncio
import secrets
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from .helps import example
from .identity_desk import desk
from .told import Language, told, who
from .trouble import Trouble

staff = typer.Typer(help="工作人员 / members of staff", no_args_is_help=True)
WHOLE_CITY = "310000"


@staff.callback()
def main() -> None:
    """工作人员 / members of staff"""


@staff.command(
    epilog=example(
        "staff add o0001 --name 王敏 --by 李强",
        "staff add w0102 --name 陈静 --role counter --dept SAMR --region 310115",
    )
)
def add(
    number: Annotated[str, typer.Argument(help="工号,用来登录 / what they sign in with")],
    name: Annotated[str, typer.Option(help="姓名 / their name")],
    role: Annotated[
        list[str] | None,
        typer.Option(help="默认 operator,可重复 / operator by default, repeatable"),
    ] = None,
    dept: Annotated[str, typer.Option(help="部门代码 / code of the department")] = "SAMR",
    region: Annotated[str, typer.Option(help="区划代码,默认全市 / the whole city by default")] = (
        WHOLE_CITY
    ),
    by: Annotated[str, typer.Option(help="谁添加的 / who adds them")] = "",
    lang: Language = "zh",
) -> None:
    """添加一名工作人员,口令只显示一次 / add one; the password is shown once, to be changed."""
    with told(lang):
        about = {"number": number, "name": name, "dept": dept, "region": region}
        made = asyncio.run(enter({**about, "roles": role or ["operator"]}, by=who(by)))
        for field, value in made.items():
            print(f"{field}={value}")


async def enter(about: dict[str, Any], *, by: str) -> dict[str, str]:
    """Add whom `about` describes, as `POST /v1/staff` does; what to print. Raises Trouble."""
    from identity_svc import staff as members
    from identity_svc.passwords import Passwords
    from identity_svc.schemas_staff import NewStaff
    from kit.audit import StaffAction
    from kit.errors import Problem, field_errors
    from kit.ids import new_id

    password = secrets.token_urlsafe(15)
    try:
        wanted = NewStaff.model_validate({**about, "password": password})
    except ValidationError as problem:
        wrong = field_errors(problem.errors())
        zh = ";".join(f"{one['pointer'][1:]}:{one['message']}" for one in wrong)
        en = " ".join(f"{one['pointer'][1:]}: {one['message_en']}" for one in wrong)
        raise Trouble(f"请更正:{zh}", f"Put right: {en}") from None
    passwords = Passwords(threads=1)
    hashed = await passwords.hash(password)
    passwords.close()
    try:
        async with desk() as at, at.sessions.begin() as session:
            rights = wanted.model_dump(exclude={"password"})
            member, _ = await members.add(session, at.vault, password_hash=hashed, **rights)
            session.add(
                StaffAction(
                    id=new_id("act"),
                    actor=f"cli:{by}",
                    dept=wanted.dept,
                    action="add_staff",
                    things={"account_id": member.account_id},
                    request_id=None,
                    trace_id=None,
                )
            )
            return {"id": member.account_id, "number": member.number, "password": password}
    except Problem as problem:
        raise Trouble(problem.zh, problem.en) from None

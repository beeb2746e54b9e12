"""Demo data: synthetic people and staff, and the app of the demonstration. Safe to run again.

The identity numbers are made up and carry valid check characters.
"""

from kit.runtime import Runtime

from . import accounts, clients
from .models import StaffMember
from .passwords import Passwords
from .settings import Settings

DEMO_PASSWORD = "Beam-demo-2026"
PUDONG = "310115"
PEOPLE = (
    ("acc_zhangsan", "张三", "310115199003077411", "13800000001", "L3"),
    ("acc_lisi", "李四", "31011519881102302X", "13800000002", "L3"),
)
STAFF = (
    ("stf_w01", "王窗口", "w01", "counter", "SAMR"),
    ("stf_r01", "赵审批", "r01", "reviewer", "SAMR"),
    ("stf_r02", "钱消防", "r02", "reviewer", "FIRE"),
    ("stf_s01", "孙督办", "s01", "supervisor", "SAMR"),
    ("stf_o01", "周运维", "o01", "operator", "SAMR"),
)


async def seed(runtime: Runtime) -> None:
    """The installation's clients, and for a demonstration its people, staff and app."""
    settings = runtime.settings
    assert isinstance(settings, Settings)
    async with runtime.sessions.begin() as session:
        await clients.provision(session, settings)
    if settings.environment == "production":
        return
    passwords = Passwords(threads=1)
    hashed = await passwords.hash(DEMO_PASSWORD)
    passwords.close()
    demo_app = clients.app("demo-app", "演示应用", "Demo app", ["http://127.0.0.1:9/callback"])
    async with runtime.sessions.begin() as session:
        await clients.put(session, demo_app)
        for account_id, name, id_number, phone, level in PEOPLE:
            await accounts.register(
                session,
                runtime.vault,
                account_id=account_id,
                name=name,
                id_number=id_number,
                phone=phone,
                level=level,
                password_hash=hashed,
            )
        for account_id, name, number, role, dept in STAFF:
            made = await accounts.register(
                session,
                runtime.vault,
                account_id=account_id,
                kind="staff",
                name=name,
                level="L2",
                password_hash=hashed,
            )
            if made:
                session.add(
                    StaffMember(
                        account_id=account_id,
                        number=number,
                        roles=[role],
                        dept=dept,
                        region=PUDONG,
                    )
                )

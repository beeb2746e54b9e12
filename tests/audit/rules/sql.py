# What the rule of sql.yaml finds and leaves alone.
from sqlalchemy import text

CHANNEL = "outbox"


async def read(db, session, number, name):
    # ruleid: sql-made-of-strings
    await db.fetch(f"select * from bill where number = '{number}'")
    # ruleid: sql-made-of-strings
    await db.execute("delete from bill where number = '%s'" % number)
    # ruleid: sql-made-of-strings
    await db.fetchval("select 1 from bill where number = " + number)
    # ruleid: sql-made-of-strings
    await db.execute(f"select 1 from {name}")
    # ruleid: sql-made-of-strings
    await session.scalar(text(f"select state from bill where number = {number}"))
    # ruleid: sql-made-of-strings
    query = f"select * from bill where name like '%{name}%'"
    await db.fetch(query)
    # ok: sql-made-of-strings
    await db.fetch("select * from bill where number = $1", number)
    # ok: sql-made-of-strings
    await session.execute(text("select state from bill where number = :n"), {"n": number})
    # ok: sql-made-of-strings
    await db.execute(f"notify {CHANNEL}")
    # ok: sql-made-of-strings
    print(f"read {number}")

import asyncio

from alembic import context
from sqlalchemy import Connection, event, pool
from sqlalchemy.ext.asyncio import create_async_engine

attributes = context.config.attributes


def bounded(connection: Connection) -> None:
    """A transaction that waits for others, and keeps others waiting, no longer than it may."""
    for setting, limit in attributes["limits"].items():
        # (A server that is too old for one of them goes without it.)
        # nosemgrep: sql-made-of-strings -- both are written in kit.migrate
        connection.exec_driver_sql(
            f"select set_config(name, '{limit}', true) from pg_settings where name = '{setting}'"
        )


def migrate(connection: Connection) -> None:
    event.listen(connection, "begin", bounded)
    # One transaction each: what the first one locks is free again before the second begins.
    context.configure(
        connection=connection,
        target_metadata=attributes["metadata"],
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    engine = create_async_engine(attributes["database_url"], poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())

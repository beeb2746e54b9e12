import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

attributes = context.config.attributes


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=attributes["metadata"], compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    engine = create_async_engine(attributes["database_url"], poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())

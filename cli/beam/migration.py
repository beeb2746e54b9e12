"""`beam migrate`: databases, roles and tables, and nothing else; for deployments and upgrades."""

import asyncio

from kit import migrate as kit_migrate

from .ground import Ground
from .place import Place
from .programs import SERVICES
from .provision import provision
from .screen import Screen
from .secret_store import SecretStore


async def migrate_all(place: Place, screen: Screen) -> None:
    """Provision and migrate every service's database, embedded or of `BEAM_POSTGRES_URL`."""
    ground, secrets = Ground(place, screen.notice), SecretStore(place.data)
    try:
        await ground.start_postgres()
        databases = await provision(ground.admin_url, secrets.database_passwords())
        for program in SERVICES:
            database = databases[program.name]
            await asyncio.to_thread(
                kit_migrate.upgrade, program.package, database.owner_url, f"{program.name}_svc"
            )
            head = kit_migrate.head(program.package)
            screen.notice(f"{database.name} 已迁移到 {head}", f"{database.name} is at {head}")
    finally:
        await ground.stop()

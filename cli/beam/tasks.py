"""Work that a forked child does once, and ends. What it needs is imported when it runs, or before
by the zygote when it is asked to."""

from pathlib import Path


def migrate(package: str, owner_url: str, runtime_role: str) -> None:
    """Bring one service's database to the newest version, as its owner."""
    from kit import migrate as kit_migrate

    kit_migrate.upgrade(package, owner_url, runtime_role)


def provision_keys(folder: str) -> None:
    """Make the keys that the simulated outside world and we share, unless they are there."""
    from sandbox import keys

    keys.provision(Path(folder))

"""Passwords as argon2id hashes, counted off the event loop, a few at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LONGEST = 128


class Passwords:
    """Hashes and compares. 19 MiB, 2 passes, 1 lane: OWASP's figures for argon2id."""

    def __init__(self, threads: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, "passwords")
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether it is the password. Without a stored hash the same work is done, for nothing:
        the time tells nobody whether an account exists."""
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(
            self._threads, self._verify, stored or self._nobody, password[: LONGEST + 1]
        )
        return right and stored is not None

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

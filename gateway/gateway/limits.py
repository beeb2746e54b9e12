"""How much one client may ask: a token bucket each, told in RateLimit headers.

The general limit counts every request; the tighter ones of `table.RATES` count those of their
routes besides, and then it is the tighter one that the answer tells of.
"""

import math
import time


class Limiter:
    """`rate` requests a second for long, `burst` at once; a rate of 0 lets everything through.
    Buckets live in this process alone; full ones are forgotten."""

    MOST = 100_000

    def __init__(self, rate: float, burst: int, name: str = "default") -> None:
        self.rate, self.burst = rate, burst
        self._name = name.encode()
        self._buckets: dict[str, list[float]] = {}
        self._told: dict[int, bytes] = {}
        if rate:
            window = math.ceil(burst / rate)
            self._policy = b'ratelimit-policy: "%b";q=%d;w=%d\r\n' % (self._name, burst, window)

    def charge(self, key: str) -> tuple[int, bytes]:
        """Take one request from the bucket of `key`: whole seconds to wait (0: go ahead) and the
        header lines that tell how much is left."""
        rate = self.rate
        if not rate:
            return 0, b""
        now = time.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self.MOST:
                self._forget(now)
            left = float(self.burst)
            bucket = self._buckets[key] = [left, now]
        else:
            left = bucket[0] + (now - bucket[1]) * rate
            if left > self.burst:
                left = self.burst
            bucket[1] = now
        if left < 1:
            bucket[0] = left
            wait = math.ceil((1 - left) / rate)
            return wait, self._policy + b'ratelimit: "%b";r=0;t=%d\r\n' % (self._name, wait)
        left -= 1
        bucket[0] = left
        whole = int(left)
        return 0, self._told.get(whole) or self._tell(whole)

    def _tell(self, left: int) -> bytes:
        """The header lines for so many requests left; told once, then remembered."""
        full_in = math.ceil((self.burst - left) / self.rate)
        told = b'ratelimit: "%b";r=%d;t=%d\r\n' % (self._name, left, full_in)
        lines = self._policy + told
        if len(self._told) < 10_000:
            self._told[left] = lines
        return lines

    def _forget(self, now: float) -> None:
        """Drop what has filled up again; if that is not enough, the oldest half."""
        full = self.burst / self.rate
        self._buckets = {k: b for k, b in self._buckets.items() if now - b[1] < full}
        if len(self._buckets) >= self.MOST:
            newest = sorted(self._buckets.items(), key=lambda item: item[1][1])[self.MOST // 2 :]
            self._buckets = dict(newest)

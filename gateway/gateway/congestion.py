"""How many requests may be with one service at once, learnt from how long it takes.

Additive increase, multiplicative decrease, as TCP does with its window (RFC 5681): while a full
window is answered quickly it grows, when it is answered late it shrinks. What waits then waits at
the door, where it can be told at once that it would take too long.
"""

LEAST, FIRST = 8, 16
GROWTH = 0.25
LATE_SECONDS = 0.2
"""An answer that takes longer, while the window is in use, says that the service has too much."""
PAUSE_SECONDS = 0.1
"""Between two decreases: time for the first to show."""
PATIENT_SECONDS = 20.0
"""Routes that are allowed longer silences (files, long polls) tell nothing of the load."""


class Window:
    """The window of one service, of at most `most` requests."""

    __slots__ = ("_decreased", "latency", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = float(min(most, FIRST))
        self.latency = 0.0
        """Seconds of an answer, smoothed."""
        self._decreased = 0.0

    def answered(self, seconds: float, used: int, now: float) -> None:
        """An answer came after `seconds`, when `used` requests were with the service."""
        self.latency += (seconds - self.latency) * 0.1
        if used * 2 < self.size:
            return
        if seconds <= LATE_SECONDS:
            if self.size < self.most:
                self.size += GROWTH
        elif now - self._decreased > PAUSE_SECONDS:
            self._decreased = now
            self.size = max(min(LEAST, self.most), self.size * 0.8)

    def wait(self, waiting: int, used: int) -> float:
        """Seconds until a request behind `waiting` others would be given to the service: with
        `used` there and so long for each, so many leave a second (Little's law)."""
        return (waiting + 1) * self.latency / max(used, 1)

"""Named places where a fault test can kill the process, and bugs that it can plant.

`BEAM_CRASH="r2:3"` sends SIGKILL to this process when it passes the point `r2` the third time
(several: `r2:3,c1:1`). `BEAM_PLANT="no_refill"` makes `planted("no_refill")` true, so that a test
can show that the check which guards against this bug turns red. Both are read once, at import; in
a process without them a point is one look at an empty dictionary.

`beam run` forks its programs, so it arms them itself, see `beam.arming`.

The kit's points: q1 with a request's work done and not committed, q2 committed and not answered;
r1 before publish, r2 after the broker's acknowledgement, r3 after the outbox is marked; c1 after
fetch, c2 inside the transaction, c3 after commit and before the ack, c4 after the ack.
Services name their own, and `beam faults` finds them all in the code.
"""

import os
import signal
from collections.abc import Callable

_armed: dict[str, int] = {}
_passed: dict[str, None] | None = None
_tell: Callable[[str], None]
_planted: set[str] = set()


def arm(crash: str, plant: str) -> None:
    """Set both anew, as the variables would: for processes that are forked after the import. Ends
    a `watch`."""
    global _passed
    _passed = None
    _armed.clear()
    _planted.clear()
    for spec in filter(None, crash.split(",")):
        name, _, passes = spec.partition(":")
        _armed[name] = int(passes or 1)
    _planted.update(filter(None, plant.split(",")))


def watch(tell: Callable[[str], None]) -> None:
    """From now on `tell` is called with each point that is passed, the first time."""
    global _passed, _tell
    _passed, _tell = {}, tell


def point(name: str) -> None:
    if _passed is not None and name not in _passed:
        _passed[name] = None
        _tell(name)
    if name in _armed:
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def planted(name: str) -> bool:
    return name in _planted


arm(os.environ.get("BEAM_CRASH", ""), os.environ.get("BEAM_PLANT", ""))

"""What lies in cycles has an end soon, whatever is in use when it is looked through."""

import subprocess
import sys

_SERVING = """
import collections, gc
from kit import collector

class Answer:
    def __init__(self):
        self.stream = {"answer": self, "lines": []}

started = [Answer() for _ in range(1000)]
collector.quieten()
at_first, before = gc.get_freeze_count(), len(gc.get_objects())
in_use, most = collections.deque(maxlen=IN_USE), 0
for number in range(100_000):
    in_use.append(Answer())
    if number % 100 == 0:
        most = max(most, len(gc.get_objects()) - before)
print(most, at_first, len(started))
"""


def most_objects(in_use: int) -> int:
    """Objects that lie in memory at most while a hundred thousand are made and left in cycles, of
    which `in_use` are needed at any time."""
    code = _SERVING.replace("IN_USE", str(in_use))
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    most, at_first, _ = map(int, ran.stdout.split())
    assert at_first > 3000, "what start-up made is set aside"
    return most


def test_cycles_do_not_pile_up() -> None:
    assert most_objects(in_use=1) < 15_000


def test_what_was_in_use_at_a_look_does_not_pile_up_either() -> None:
    # Three objects each, at a look in the middle of the work of 200 requests.
    assert most_objects(in_use=200) < 15_000 + 10 * 3 * 200

"""How a serving process collects cycles (what refers to itself, of which reference counts alone
never free anything): often enough that memory has an end, and without what start-up made.

A request leaves a few objects in cycles: an answer of the HTTP client and its stream, an exception
and its frames, a session and its transaction. They lie there until the youngest generation has so
many objects that it is looked through; what is in use at that moment moves up, and is looked at
again a good deal later. Both limits times the size of these objects is what a process grows by
before it stands still, and with large limits that takes hours or weeks. Looking more often costs
nothing: each look has fewer objects to look at.
"""

import gc

YOUNG = 5_000
"""New containers more than were freed, at which the youngest generation is looked through."""
MIDDLE, OLD = 10, 10
"""So many looks at one generation until the next one has its turn."""


def quieten() -> None:
    """Call when all is set up: what start-up made stays, so no collection walks over it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)

"""Records that nobody may change are sealed into a chain whose head is known elsewhere.

Rows are appended freely, in the transaction of what they tell of; nothing waits for a lock. Every
few seconds one process of a service seals what is not sealed yet into a block: the digest of every
row, one hash over them, and the hash of the block before (`blocks`). The head is signed, goes to a
file on another volume (`anchors`) and out as the event `<service>.audit_sealed.v1`. A check that
runs by itself, and `beam audit verify`, find a row or a block that was edited, taken away or put in
later, and a tail that was cut off (`checks`, `watch`).

What it cannot show: a line that the database's administrator adds under today's date, and one that
he takes away within the seconds before it is sealed.
"""

"""Money: our books against the channel's book, which is the oracle (I3, I4, I5, I7, I8)."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from ..evidence import Evidence, Row
from .wrong import Lasting

PAID_STATES = {"paid", "partially_refunded", "refunded"}


def _attempts(evidence: Evidence) -> dict[str, Row]:
    return {row["trade_no"]: row for row in evidence.rows("payment", "attempt")}


def _returned(evidence: Evidence) -> Counter[str]:
    """What the channel gave back, by its transaction."""
    sums: Counter[str] = Counter()
    for refund in evidence.wechat["refunds"]:
        if refund["state"] == "SUCCESS":
            sums[refund["transaction_id"]] += refund["amount"]
    return sums


def one_charge(evidence: Evidence) -> Iterator[str]:
    """At the channel there is no order that is not ours, and at most one live charge a fee."""
    attempts, returned = _attempts(evidence), _returned(evidence)
    for order in evidence.wechat["orders"]:
        if order["out_trade_no"] not in attempts:
            yield Lasting(f"the channel has an order {order['out_trade_no']} that we do not know")
    live: Counter[str] = Counter()
    for payment in evidence.wechat["payments"]:
        attempt = attempts.get(payment["out_trade_no"])
        if attempt is not None and returned[payment["transaction_id"]] < payment["total"]:
            live[attempt["order_id"]] += 1
    open_: Counter[str] = Counter(
        attempts[order["out_trade_no"]]["order_id"]
        for order in evidence.wechat["orders"]
        if order["state"] == "NOTPAY" and order["out_trade_no"] in attempts
    )
    for order_id, count in live.items():
        if count + open_[order_id] > 1:
            yield f"{order_id} is charged {count} times and can be paid {open_[order_id]} times"


def paid_agrees(evidence: Evidence) -> Iterator[str]:
    """The channel was paid if and only if we say so, with the same amount."""
    charges = {row["transaction_id"]: row for row in evidence.rows("payment", "charge")}
    payments = {row["transaction_id"]: row for row in evidence.wechat["payments"]}
    for number, payment in payments.items():
        if number not in charges:
            yield f"the channel was paid {payment['total']} fen ({number}) and we do not know it"
    for number, charge in charges.items():
        paid = payments.get(number)
        if paid is None:
            yield Lasting(f"{charge['id']} says paid, the channel does not")
        elif paid["total"] != charge["amount_fen"]:
            yield Lasting(f"{charge['id']}: {charge['amount_fen']} fen, paid {paid['total']}")
    paying: dict[str, list[Row]] = defaultdict(list)
    for charge in charges.values():
        if charge["account"] != "suspense":
            paying[charge["order_id"]].append(charge)
    for order in evidence.rows("payment", "payment_order"):
        sums = [charge["amount_fen"] for charge in paying[order["id"]]]
        wanted = [order["amount_fen"]] if order["state"] in PAID_STATES else []
        if sums != wanted or order["paid_fen"] != sum(sums):
            yield Lasting(f"{order['id']} is {order['state']}, charges {sums} fen, owed {wanted}")


def ledger_balanced(evidence: Evidence) -> Iterator[str]:
    """Each booking has two legs or more that balance; each charge and refund is booked once."""
    legs: dict[str, list[Row]] = defaultdict(list)
    for entry in evidence.rows("payment", "ledger_entry"):
        legs[entry["txn_id"]].append(entry)
    booked: dict[str, int] = {}
    for txn in evidence.rows("payment", "ledger_txn"):
        entries = legs.pop(txn["id"], [])
        signed = [e["amount_fen"] * (1 if e["direction"] == "debit" else -1) for e in entries]
        if len(entries) < 2 or sum(signed) != 0:
            yield Lasting(f"the booking {txn['reference']} does not balance: {signed}")
        booked[txn["reference"]] = sum(amount for amount in signed if amount > 0)
    for txn_id in legs:
        yield Lasting(f"entries of {txn_id} belong to no booking")
    due = {f"charge:{row['id']}": row["amount_fen"] for row in evidence.rows("payment", "charge")}
    due |= {
        f"refund:{row['id']}": row["amount_fen"]
        for row in evidence.rows("payment", "refund")
        if row["state"] == "succeeded"
    }
    for reference in due.keys() | booked.keys():
        if due.get(reference) != booked.get(reference):
            yield Lasting(
                f"{reference}: booked {booked.get(reference)} fen, due {due.get(reference)}"
            )


def channel_statement(evidence: Evidence) -> Iterator[str]:
    """Our account of the channel says what the channel's own statement says, to the fen."""
    clearing = sum(
        entry["amount_fen"] * (1 if entry["direction"] == "debit" else -1)
        for entry in evidence.rows("payment", "ledger_entry")
        if entry["account"] == "clearing:wechat"
    )
    statement = sum(row["total"] for row in evidence.wechat["payments"])
    statement -= sum(_returned(evidence).values())
    if clearing != statement:
        yield f"the channel's account has {clearing} fen, its statement {statement}"


def refunds_within_paid(evidence: Evidence) -> Iterator[str]:
    """No charge gives back more than it took, and the channel agrees on every refund."""
    theirs = {row["out_refund_no"]: row for row in evidence.wechat["refunds"]}
    ours = {row["id"]: row for row in evidence.rows("payment", "refund")}
    for number in theirs.keys() - ours.keys():
        yield Lasting(f"the channel has a refund {number} that we do not know")
    promised: Counter[str] = Counter()
    for refund in ours.values():
        if refund["state"] != "error":
            promised[refund["charge_id"]] += refund["amount_fen"]
        their = theirs.get(refund["id"])
        done = their is not None and their["state"] == "SUCCESS"
        if refund["state"] == "succeeded" and not done:
            yield Lasting(f"{refund['id']} says succeeded, the channel does not")
        elif done and refund["state"] != "succeeded":
            yield f"{refund['id']} is {refund['state']}, at the channel it succeeded"
        if their is not None and their["amount"] != refund["amount_fen"]:
            yield Lasting(f"{refund['id']}: {refund['amount_fen']} fen, theirs {their['amount']}")
    for charge in evidence.rows("payment", "charge"):
        if promised[charge["id"]] > charge["amount_fen"]:
            yield Lasting(f"{charge['id']}: {promised[charge['id']]} fen go back of less")
    for order in evidence.rows("payment", "payment_order"):
        if order["refunded_fen"] > order["paid_fen"]:
            yield Lasting(f"{order['id']} gave back more than was paid")

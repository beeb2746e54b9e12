"""Bookings balance: at least two legs, debits equal credits, all from one transaction."""

from alembic import op

revision = "0002"
down_revision = "0001"

BALANCED = """
create function ledger_balanced() returns trigger language plpgsql as $$
declare
    booking text;
    legs integer;
    gap numeric;
begin
    if tg_table_name = 'ledger_txn' then
        booking := new.id;
    else
        booking := new.txn_id;
    end if;
    select count(*), sum(case direction when 'debit' then amount_fen else -amount_fen end)
        into legs, gap from ledger_entry where txn_id = booking;
    if legs < 2 or gap <> 0 then
        raise exception 'ledger booking % does not balance', booking
            using errcode = 'check_violation', constraint = 'ledger_balanced';
    end if;
    return null;
end $$
"""
# now() is the moment at which the transaction began: legs that come later are told by it.
TOGETHER = """
create function ledger_together() returns trigger language plpgsql as $$
begin
    if tg_table_name = 'ledger_txn' then
        new.recorded_at := now();
    elsif not exists (
        select from ledger_txn where id = new.txn_id and recorded_at = now()
    ) then
        raise exception 'legs join booking % only where it is made', new.txn_id
            using errcode = 'check_violation', constraint = 'ledger_together';
    end if;
    return new;
end $$
"""


def upgrade() -> None:
    op.execute(BALANCED)
    op.execute(TOGETHER)
    for table in ("ledger_txn", "ledger_entry"):
        op.execute(
            f"create constraint trigger {table}_balanced after insert on {table} "
            "deferrable initially deferred for each row execute function ledger_balanced()"
        )
        op.execute(
            f"create trigger {table}_together before insert on {table} "
            "for each row execute function ledger_together()"
        )


def downgrade() -> None:
    for table in ("ledger_txn", "ledger_entry"):
        op.execute(f"drop trigger {table}_balanced on {table}")
        op.execute(f"drop trigger {table}_together on {table}")
    op.execute("drop function ledger_balanced()")
    op.execute("drop function ledger_together()")

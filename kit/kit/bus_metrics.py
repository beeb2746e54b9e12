"""Figures of the bus for /metrics; labels hold no ids."""

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter(
    "beam_events_published_total", "Events the stream acknowledged", ["service", "type"]
)
HANDLED = Counter(
    "beam_events_handled_total",
    "Deliveries by outcome: done, repeated, later, retried, dead",
    ["service", "outcome"],
)
DELAY = Histogram(
    "beam_event_delay_seconds",
    "From an event's time to the commit of its effect",
    ["service"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60, 600),
)
CONNECTED = Gauge("beam_bus_connected", "1 while connected to the broker", ["service"])
UNSENT = Gauge("beam_outbox_unsent_rows", "Events that the broker does not have", ["service"])
UNSENT_AGE = Gauge("beam_outbox_oldest_unsent_seconds", "Age of the oldest of them", ["service"])
PENDING = Gauge(
    "beam_consumer_pending_events",
    "Events that a handler has not been given",
    ["service", "consumer"],
)
COPIES = Gauge("beam_stream_copies", "Brokers that hold every event", ["service"])
COPIES_WANTED = Gauge("beam_stream_wanted_copies", "Brokers that should", ["service"])
DEAD = Gauge("beam_dead_letters_open", "Dead letters that nobody replayed", ["service"])

"""Real PostgreSQL and NATS from wheels, started and watched by us: for `make run` and the tests.

Nothing here is needed when both are given from outside by settings.
"""

from kit.embedded.cluster import NatsCluster
from kit.embedded.nats import NatsServer
from kit.embedded.postgres import PostgresServer
from kit.embedded.process import EmbeddedError, free_port

__all__ = ["EmbeddedError", "NatsCluster", "NatsServer", "PostgresServer", "free_port"]

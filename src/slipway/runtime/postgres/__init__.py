"""The PostgreSQL that `slipway up` brings along: one server for one home, on a unix socket (ADR 0003).

Called by `app` when no database URL is set. It refuses to listen on the network, to trust anybody without a
password, and to change anything outside the home.
"""

from slipway.runtime.postgres.server import EmbeddedAddresses, EmbeddedPostgres
from slipway.runtime.postgres.supervision import supervise

__all__ = ["EmbeddedAddresses", "EmbeddedPostgres", "supervise"]

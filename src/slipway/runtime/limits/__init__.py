"""Rate limits: of this process alone (`LocalLimiter`) or shared through Redis (`shared.RedisLimiter`), one protocol.

The shared one is imported by those who have a Redis: its driver takes 60 ms.
"""

from slipway.runtime.limits.limit import Limit, Limiter, Verdict
from slipway.runtime.limits.local import LocalLimiter

__all__ = ["Limit", "Limiter", "LocalLimiter", "Verdict"]

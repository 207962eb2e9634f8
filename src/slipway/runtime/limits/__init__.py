"""Rate limits: of this process alone (`LocalLimiter`) or shared through Redis (`RedisLimiter`), behind one protocol."""

from slipway.runtime.limits.limit import Limit, Limiter, Verdict
from slipway.runtime.limits.local import LocalLimiter
from slipway.runtime.limits.shared import RedisLimiter

__all__ = ["Limit", "Limiter", "LocalLimiter", "RedisLimiter", "Verdict"]

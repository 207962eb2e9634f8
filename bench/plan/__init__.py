"""The plan's benchmark: how long `slipway plan prod` of the largest blueprint takes, and what of it each phase is."""

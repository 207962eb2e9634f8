"""The gateway's benchmark: Slipway beside nginx and LiteLLM, in front of one upstream, on loopback."""

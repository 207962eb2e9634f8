"""The wire types of every service and the client that speaks them: Slipway's public Python SDK."""

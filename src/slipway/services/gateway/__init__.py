"""The gateway: every model behind one OpenAI-compatible API, and one usage row for each accepted request."""

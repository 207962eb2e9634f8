"""HTTP building blocks that every part shares: scoped routes, problems, credentials, cancellation, metrics."""

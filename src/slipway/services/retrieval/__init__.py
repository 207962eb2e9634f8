"""Documents, the workflow that makes them searchable, collections and search."""

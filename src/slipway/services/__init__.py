"""What runs, one slice each. Slices never import each other; they call each other through `api`."""

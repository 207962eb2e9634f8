"""Stacks: they translate the site (manifest, inputs, topology) into constructs and hand values to the stacks that follow."""

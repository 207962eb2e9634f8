"""Stacks: they translate the site (manifest, inputs, topology) into constructs and hand values to those behind them."""

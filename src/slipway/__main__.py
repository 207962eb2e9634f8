"""`python -m slipway` is `slipway`."""

from slipway.cli.main import main

main()

"""The plan as one page that needs nothing besides itself. Called by `slipway plan --html`."""

from slipway.operations.plan import Plan


def page(plan: Plan) -> str:
    """The page."""
    return plan.hash

"""The AWS account that the credentials at hand belong to, if there are any.

Called by the command line. boto3 looks where it always does: environment, profile, container, instance.
"""

from slipway.operations.preflight import Account


def account_of() -> Account | None:
    """The account; None when boto3 finds no credentials."""
    import boto3

    session = boto3.Session()
    return Account(session) if session.get_credentials() is not None else None

"""A Cognito identity pool: those who signed in get AWS credentials, each group a role of its own.

The roles begin with nothing: a group's statements come from the manifest's needs, and one without any may only say who
it is. Nobody gets in without signing in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws, aws_cognito, aws_iam
from constructs import Construct

from slipway.infra.constructs.grants import Statement, accepted
from slipway.infra.constructs.user_pool import UserPool
from slipway.infra.naming import Names
from slipway.infra.reasons import accept


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPoolProps:
    """`grants` has the statements of each group that gets credentials."""

    groups: Sequence[str]
    grants: Mapping[str, Sequence[Statement]]


class IdentityPool(Construct):
    """The pool, and a role for each group of the user pool: the first of a user's groups decides."""

    def __init__(self, scope: Construct, identifier: str, *, props: IdentityPoolProps, user_pool: UserPool) -> None:
        super().__init__(scope, identifier)
        provider = f"cognito-idp.{Aws.REGION}.amazonaws.com/{user_pool.pool_id}"
        client = user_pool.client_ids[UserPool.CONSOLE]
        self.resource = aws_cognito.CfnIdentityPool(
            self,
            "Pool",
            allow_unauthenticated_identities=False,
            allow_classic_flow=False,
            cognito_identity_providers=[
                {"clientId": client, "providerName": provider, "serverSideTokenCheck": True},
            ],
        )
        self.roles = {group: self._role(group, props.grants.get(group, ())) for group in props.groups}
        for group, resource in user_pool.groups.items():
            resource.role_arn = self.roles[group].attr_arn
        aws_cognito.CfnIdentityPoolRoleAttachment(
            self,
            "Roles",
            identity_pool_id=self.resource.ref,
            # The token names the role of the user's first group; who is in no group gets no credentials.
            role_mappings={
                "groups": {
                    "type": "Token",
                    "ambiguousRoleResolution": "Deny",
                    "identityProvider": f"{provider}:{client}",
                }
            },
        )

    def _role(self, group: str, statements: Sequence[Statement]) -> aws_iam.CfnRole:
        own = Statement(
            "WhoAmI",
            ("cognito-identity:GetCredentialsForIdentity",),
            ("*",),
            reason="Cognito's identities have no ARN that a policy could name; it gives the own alone.",
        )
        held = (own, *statements)
        role = aws_iam.CfnRole(
            self,
            Names.construct(f"role-{group}"),
            description=f"What the group {group} may do in AWS itself.",
            assume_role_policy_document=_trust(self.resource.ref),
            policies=[
                {
                    "policyName": "group",
                    "policyDocument": {"Version": "2012-10-17", "Statement": [each.document() for each in held]},
                }
            ],
        )
        accept(role, accepted(held))
        return role


def _trust(pool_id: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": "cognito-identity.amazonaws.com"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {"cognito-identity.amazonaws.com:aud": pool_id},
                    "ForAnyValue:StringLike": {"cognito-identity.amazonaws.com:amr": "authenticated"},
                },
            }
        ],
    }

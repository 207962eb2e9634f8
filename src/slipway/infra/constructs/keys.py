"""Keys of KMS: one a store, with new material as often as the manifest says, and a policy that names who may use it.

The account's own policies decide on the rest. Used by the foundation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import Aws, aws_kms
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

# KMS waits before it destroys a key, and with it all that the key encrypts: 30 days at most, 7 at least.
_WAIT_LASTING_DAYS: Final = 30
_WAIT_DAYS: Final = 7
_ENCRYPT: Final = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey")


@dataclass(frozen=True, slots=True)
class KeyUser:
    """A service of AWS that may use a key by itself, under conditions that hold it to this account."""

    sid: str
    service: str
    actions: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProps:
    """`alias` is the name that people find it by, without `alias/`."""

    alias: str
    description: str
    rotate_days: int
    lasting: bool
    users: Sequence[KeyUser] = field(default=())


class Key(Construct):
    """One key, by its `arn`."""

    def __init__(self, scope: Construct, construct_id: str, props: KeyProps) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_kms.CfnKey(
            self,
            "Key",
            description=props.description,
            key_spec="SYMMETRIC_DEFAULT",
            key_usage="ENCRYPT_DECRYPT",
            enabled=True,
            enable_key_rotation=True,
            rotation_period_in_days=props.rotate_days,
            pending_window_in_days=_WAIT_LASTING_DAYS if props.lasting else _WAIT_DAYS,
            key_policy={"Version": "2012-10-17", "Statement": [_account(), *map(_statement, props.users)]},
        )
        keep(self.resource, props.lasting)
        accept(
            self.resource,
            {
                "Account": "A key's policy speaks of that key alone, as *; it leaves the decision to IAM.",
                **{user.sid: "A key's policy speaks of that key alone, as *." for user in props.users},
            },
        )
        aws_kms.CfnAlias(self, "Alias", alias_name=f"alias/{props.alias}", target_key_id=self.resource.attr_key_id)
        self.arn = self.resource.attr_arn


def logs_user() -> KeyUser:
    """CloudWatch Logs, for groups of this account and region."""
    groups = f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:*"
    return KeyUser(
        "Logs",
        f"logs.{Aws.REGION}.{Aws.URL_SUFFIX}",
        _ENCRYPT,
        {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def trail_user(trail_arn: str) -> KeyUser:
    """CloudTrail, for one trail."""
    return KeyUser(
        "Trail",
        "cloudtrail.amazonaws.com",
        ("kms:GenerateDataKey*", "kms:Decrypt", "kms:DescribeKey"),
        {"StringEquals": {"aws:SourceArn": trail_arn}},
    )


def publisher(sid: str, service: str) -> KeyUser:
    """A service that publishes to an encrypted topic of this account."""
    return KeyUser(
        sid, service, ("kms:GenerateDataKey*", "kms:Decrypt"), {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
    )


def _account() -> dict[str, Any]:
    return {
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }


def _statement(user: KeyUser) -> dict[str, Any]:
    return {
        "Sid": user.sid,
        "Effect": "Allow",
        "Principal": {"Service": user.service},
        "Action": list(user.actions),
        "Resource": "*",
        "Condition": {operator: dict(condition) for operator, condition in user.conditions.items()},
    }

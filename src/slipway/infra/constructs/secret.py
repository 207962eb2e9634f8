"""A secret of Secrets Manager. No value ever stands in a template: it is generated there, or filled in by somebody."""

import json
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

# Why no schedule rotates it.
_OURS: Final = "Who uses the value must have the new one at once: a command rotates both, which a schedule cannot."
_ANOTHERS: Final = "Its value belongs to another system, and whoever changes it there fills it in here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What Secrets Manager makes up: `length` letters and digits.

    With `username` the secret is JSON with `username` and `password`, as databases have it.
    """

    length: int
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The second region of a secret, and the key that encrypts it there."""

    region: str
    key_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretProps:
    """`generated` is None for a secret that somebody fills: until then whoever needs it does not start."""

    name: str
    description: str
    key_arn: str
    generated: Generated | None
    lasting: bool
    copied: Copied | None = None


class Secret(Construct):
    """One secret. `arn` is its ARN, `reference` what CloudFormation resolves to its value when it deploys."""

    def __init__(self, scope: Construct, construct_id: str, props: SecretProps) -> None:
        super().__init__(scope, construct_id)
        copied = props.copied
        self.resource = secretsmanager.CfnSecret(
            self,
            "Secret",
            name=props.name,
            description=props.description,
            kms_key_id=props.key_arn,
            generate_secret_string=None if props.generated is None else _generation(props.generated),
            replica_regions=None
            if copied is None
            else [secretsmanager.CfnSecret.ReplicaRegionProperty(region=copied.region, kms_key_id=copied.key_arn)],
        )
        keep(self.resource, props.lasting)
        accept(self.resource, {"AwsSolutions-SMG4": _OURS if props.generated else _ANOTHERS})
        self.arn = self.resource.ref

    def reference(self, key: str | None = None) -> str:
        """The value, or one key of its JSON, resolved by CloudFormation: the template holds this text alone."""
        return f"{{{{resolve:secretsmanager:{self.arn}:SecretString{f':{key}' if key else ''}}}}}"


def _generation(generated: Generated) -> secretsmanager.CfnSecret.GenerateSecretStringProperty:
    """Letters and digits alone: Redis takes few other characters, and a URL none without escapes."""
    username = generated.username
    return secretsmanager.CfnSecret.GenerateSecretStringProperty(
        password_length=generated.length,
        exclude_punctuation=True,
        include_space=False,
        secret_string_template=None if username is None else json.dumps({"username": username}),
        generate_string_key=None if username is None else "password",
    )

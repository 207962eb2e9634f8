"""A parameter of Parameter Store: configuration that people and parts look up by a name. Nothing secret is one."""

from aws_cdk import aws_ssm as ssm
from constructs import Construct


class Parameter(Construct):
    """One text under `/slipway/<environment>/<platform>/…`.

    CloudFormation cannot make encrypted parameters: what is secret is a secret of Secrets Manager.
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str, value: str, description: str) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        self.resource = ssm.CfnParameter(
            self, "Parameter", name=name, type="String", tier="Standard", value=value, description=description
        )

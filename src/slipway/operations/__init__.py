"""Operating the cloud: what a deploy would change, break and cost, before anything is touched.

`plan` is the entrance. Its Plan is a value with a hash; `slipway plan` renders it, and what deploys will take it.
Serving never imports this package: it brings `aws_cdk` and `cfnlint` along.
"""

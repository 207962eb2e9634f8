"""The platform on AWS: typed constructs, composed into stacks from the manifest alone. Nothing here runs when serving.

`topology` says what there is and who reaches what, without CDK; `app` synthesizes it. `operations` plans over the
result.
"""

from slipway.infra.node import use_packaged_node

use_packaged_node()

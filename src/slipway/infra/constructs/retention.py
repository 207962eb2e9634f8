"""What becomes of what holds data when its stack goes, or when an update would replace it.

Used by every construct of this package that holds data, so that the decision stands in one place.
"""

from typing import Final

from aws_cdk import CfnDeletionPolicy, CfnResource

# Types of which CloudFormation takes a last snapshot before it deletes them.
_WITH_SNAPSHOT: Final = frozenset({"AWS::RDS::DBCluster", "AWS::Neptune::DBCluster"})


def keep(resource: CfnResource, lasting: bool) -> None:
    """Keeps the data of `resource` when `lasting`; else it goes with its stack, as in previews.

    A cluster leaves a snapshot, from which it can be made again and which costs little; everything else stays itself.
    """
    policy = CfnDeletionPolicy.DELETE
    if lasting:
        snapshot = resource.cfn_resource_type in _WITH_SNAPSHOT
        policy = CfnDeletionPolicy.SNAPSHOT if snapshot else CfnDeletionPolicy.RETAIN
    resource.cfn_options.deletion_policy = policy
    resource.cfn_options.update_replace_policy = policy

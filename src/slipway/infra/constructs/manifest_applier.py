"""Brings Kubernetes' manifests to a cluster whose API only the VPC reaches: a build in the VPC, after each deploy.

The documents stand in AppConfig's hosted store: CloudFormation fills in what it alone knows and makes a version of
them, and the end of the stack's own change starts the build, which applies that version, takes away what is no longer
in it, and waits until every pod runs. ADR 18 weighs this against others. Used by the Kubernetes stack.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, aws_appconfig, aws_codebuild, aws_ec2, aws_events, aws_logs
from constructs import Construct

from slipway.infra.constructs.eks_cluster import EksCluster
from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.roles import role
from slipway.infra.constructs.tools import HELM, kubectl

_BUILD_MACHINE: Final = "aws/codebuild/amazonlinux-x86_64-standard:5.0"
_MINUTES: Final = 30
CONTROLLER_ACCOUNT: Final = "aws-load-balancer-controller"
AUTOSCALER_ACCOUNT: Final = "cluster-autoscaler"
_REVISION: Final = "slipway.dev/revision"
# What is removed when a version of the manifests no longer has it.
_KINDS: Final = (
    "deployments.apps,services,serviceaccounts,horizontalpodautoscalers.autoscaling,poddisruptionbudgets.policy,"
    "networkpolicies.networking.k8s.io,targetgroupbindings.elbv2.k8s.aws,"
    "secretproviderclasses.secrets-store.csi.x-k8s.io"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """A chart of Helm's that EKS has no add-on for, by the commit of its repository: git checks what it fetches."""

    name: str
    repository: str
    commit: str
    folder: str

    def fetch(self) -> tuple[str, ...]:
        return (
            f"git init -q charts/{self.name}",
            f"git -C charts/{self.name} fetch -q --depth 1 {self.repository} {self.commit}",
            f"git -C charts/{self.name} checkout -q FETCH_HEAD",
        )

    def install(self, values: Mapping[str, str]) -> str:
        options = " ".join(f"--set {key}={value}" for key, value in values.items())
        return (
            f"helm upgrade --install {self.name} charts/{self.name}/{self.folder} --namespace kube-system "
            f"--wait --timeout 5m {options}"
        )


_CONTROLLER: Final = _Chart(  # version 3.5.0
    name=CONTROLLER_ACCOUNT,
    repository="https://github.com/kubernetes-sigs/aws-load-balancer-controller",
    commit="225f44568848eb25f13e304a5f1cc68c0cd9415d",
    folder="helm/aws-load-balancer-controller",
)
_AUTOSCALER: Final = _Chart(  # chart 9.59.0
    name=AUTOSCALER_ACCOUNT,
    repository="https://github.com/kubernetes/autoscaler",
    commit="5a0b98e45f896e98132737240ac131a519d3b33d",
    folder="cluster-autoscaler/charts/cluster-autoscaler",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestApplierProps:
    """`documents` is the List of everything as JSON, with CloudFormation's values in it; `deployments` are awaited."""

    name: str
    documents: str
    namespace: str
    deployments: Sequence[str]
    version: str
    vpc_id: str
    subnet_ids: Sequence[str]
    key_arn: str
    log_group: str
    log_days: int
    log_key_arn: str


class ManifestApplier(Construct):
    """The documents, the build that applies them, and what starts it."""

    def __init__(self, scope: Construct, construct_id: str, cluster: EksCluster, props: ManifestApplierProps) -> None:
        super().__init__(scope, construct_id)
        application, profile, version = self._hosted(props)
        log = aws_logs.CfnLogGroup(
            self,
            "Log",
            log_group_name=props.log_group,
            retention_in_days=props.log_days,
            kms_key_id=props.log_key_arn,
        )
        keep(log, lasting=False)
        group = self._security_group(props)
        hosted = (
            f"arn:{Aws.PARTITION}:appconfig:{Aws.REGION}:{Aws.ACCOUNT_ID}:application/{application.ref}"
            f"/configurationprofile/{profile.ref}/hostedconfigurationversion/{version.attr_version_number}"
        )
        self.role = role(
            self,
            "Role",
            service="codebuild.amazonaws.com",
            description=f"Applies manifests to {cluster.name}.",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            statements=_statements(cluster, props, log.attr_arn, hosted),
        )
        variables = {
            "APPLICATION": application.ref,
            "PROFILE": profile.ref,
            "VERSION": version.attr_version_number,
            "CLUSTER": cluster.name,
        }
        project = aws_codebuild.CfnProject
        self.project = project(
            self,
            "Project",
            name=f"{props.name}-manifests",
            description=f"Applies manifests to {cluster.name}.",
            service_role=self.role.attr_arn,
            encryption_key=props.key_arn,
            timeout_in_minutes=_MINUTES,
            concurrent_build_limit=1,
            artifacts=project.ArtifactsProperty(type="NO_ARTIFACTS"),
            source=project.SourceProperty(type="NO_SOURCE", build_spec=buildspec(props, cluster.name)),
            environment=project.EnvironmentProperty(
                type="LINUX_CONTAINER",
                compute_type="BUILD_GENERAL1_SMALL",
                image=_BUILD_MACHINE,
                image_pull_credentials_type="CODEBUILD",
                privileged_mode=False,
                environment_variables=[
                    project.EnvironmentVariableProperty(name=name, value=value, type="PLAINTEXT")
                    for name, value in variables.items()
                ],
            ),
            vpc_config=project.VpcConfigProperty(
                vpc_id=props.vpc_id, subnets=list(props.subnet_ids), security_group_ids=[group.attr_group_id]
            ),
            logs_config=project.LogsConfigProperty(
                cloud_watch_logs=project.CloudWatchLogsConfigProperty(status="ENABLED", group_name=log.ref)
            ),
        )
        cluster.admit(self, "CallsCluster", group.attr_group_id, "Manifests are applied from here")
        self.entry = cluster.entitle(self, "Access", self.role.attr_arn, {"AmazonEKSClusterAdminPolicy": ()})
        self._start_after_deploys()

    def _hosted(
        self, props: ManifestApplierProps
    ) -> tuple[
        aws_appconfig.CfnApplication,
        aws_appconfig.CfnConfigurationProfile,
        aws_appconfig.CfnHostedConfigurationVersion,
    ]:
        application = aws_appconfig.CfnApplication(self, "Manifests", name=f"{props.name}-manifests")
        profile = aws_appconfig.CfnConfigurationProfile(
            self, "Profile", application_id=application.ref, name="kubernetes", location_uri="hosted"
        )
        version = aws_appconfig.CfnHostedConfigurationVersion(
            self,
            "Version",
            application_id=application.ref,
            configuration_profile_id=profile.ref,
            content_type="application/json",
            content=props.documents,
        )
        return application, profile, version

    def _security_group(self, props: ManifestApplierProps) -> aws_ec2.CfnSecurityGroup:
        return aws_ec2.CfnSecurityGroup(
            self,
            "Group",
            vpc_id=props.vpc_id,
            group_description="Builds that apply manifests: nobody reaches them",
            security_group_egress=[
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_ip="0.0.0.0/0",
                    description="The cluster, AWS, and where tools are fetched by checksum",
                )
            ],
        )

    def _start_after_deploys(self) -> None:
        """CloudFormation itself says when the stack is done; whoever deploys it needs no further right."""
        start = role(
            self,
            "StartRole",
            service="events.amazonaws.com",
            description="Starts the build that applies manifests.",
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            statements=(Statement("Start", ("codebuild:StartBuild",), (self.project.attr_arn,)),),
        )
        aws_events.CfnRule(
            self,
            "AfterDeploys",
            description="Applies manifests whenever their stack has changed.",
            event_pattern={
                "source": ["aws.cloudformation"],
                "detail-type": ["CloudFormation Stack Status Change"],
                "detail": {
                    "stack-id": [Aws.STACK_ID],
                    "status-details": {"status": ["CREATE_COMPLETE", "UPDATE_COMPLETE"]},
                },
            },
            state="ENABLED",
            targets=[
                aws_events.CfnRule.TargetProperty(
                    id="build",
                    arn=self.project.attr_arn,
                    role_arn=start.attr_arn,
                    retry_policy=aws_events.CfnRule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=3600, maximum_retry_attempts=10
                    ),
                )
            ],
        )


def buildspec(props: ManifestApplierProps, cluster: str) -> str:
    """What the build does, as YAML's subset JSON."""
    install = [
        kubectl(props.version).fetch("/usr/local/bin/kubectl"),
        "chmod 0755 /usr/local/bin/kubectl",
        HELM.fetch("helm.tar.gz"),
        "tar -xzf helm.tar.gz --strip-components=1 -C /usr/local/bin linux-amd64/helm",
        *_CONTROLLER.fetch(),
        *_AUTOSCALER.fetch(),
    ]
    controller = {
        "clusterName": cluster,
        "region": "$AWS_REGION",
        "vpcId": props.vpc_id,
        "serviceAccount.name": CONTROLLER_ACCOUNT,
        "createIngressClassResource": "false",  # the one load balancer is CloudFormation's; ADR 18
        "enableShield": "false",
        "enableWaf": "false",
        "enableWafv2": "false",
    }
    # Nodes for pods that wait, between the group's bounds; EKS tags the group so that it is found.
    autoscaler = {
        "cloudProvider": "aws",
        "awsRegion": "$AWS_REGION",
        "autoDiscovery.clusterName": cluster,
        "fullnameOverride": AUTOSCALER_ACCOUNT,
        "rbac.serviceAccount.name": AUTOSCALER_ACCOUNT,
    }
    label = f'.items[].metadata.labels["{_REVISION}"] = $revision'
    read = (
        'aws appconfig get-hosted-configuration-version --application-id "$APPLICATION" '
        '--configuration-profile-id "$PROFILE" --version-number "$VERSION" documents.json'
    )
    tidy = (
        f"kubectl delete {_KINDS} --namespace {props.namespace} --ignore-not-found "
        f'--selector "app.kubernetes.io/managed-by=slipway,{_REVISION}!=$VERSION"'
    )
    apply = [
        'aws eks update-kubeconfig --name "$CLUSTER"',
        _CONTROLLER.install(controller),
        _AUTOSCALER.install(autoscaler),
        read,
        f"jq --arg revision \"$VERSION\" '{label}' documents.json > labelled.json",
        "kubectl apply --server-side --force-conflicts --field-manager=slipway -f labelled.json",
        tidy,
        *(
            f"kubectl rollout status deployment/{name} --namespace {props.namespace} --timeout 10m"
            for name in props.deployments
        ),
    ]
    document = {
        "version": 0.2,
        "env": {"shell": "bash"},
        "phases": {
            "install": {"on-failure": "ABORT", "commands": install},
            "build": {"on-failure": "ABORT", "commands": apply},
        },
    }
    return json.dumps(document, indent=1)


def _statements(
    cluster: EksCluster, props: ManifestApplierProps, log_arn: str, hosted_arn: str
) -> tuple[Statement, ...]:
    ec2 = f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}:{Aws.ACCOUNT_ID}"
    subnets = [f"{ec2}:subnet/{each}" for each in props.subnet_ids]
    return (
        Statement("FindCluster", ("eks:DescribeCluster",), (cluster.arn,)),
        Statement("ReadManifests", ("appconfig:GetHostedConfigurationVersion",), (hosted_arn,)),
        Statement("UseKey", ("kms:Decrypt", "kms:GenerateDataKey"), (props.key_arn,)),
        Statement(
            "WriteLog",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            (log_arn,),
            reason="Streams of the build's own group: their names end in the build's id.",
        ),
        Statement(
            "StandInVpc",
            (
                "ec2:CreateNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ),
            ("*",),
            reason="A build's interface has no id before it is made, and descriptions name no resource.",
        ),
        Statement(
            "LendInterface",
            ("ec2:CreateNetworkInterfacePermission",),
            (f"{ec2}:network-interface/*",),
            {
                "StringEquals": {"ec2:AuthorizedService": "codebuild.amazonaws.com"},
                "ArnEquals": {"ec2:Subnet": subnets},
            },
            reason="The interface is told by its subnet and by who may use it; it has no id before it is made.",
        ),
    )

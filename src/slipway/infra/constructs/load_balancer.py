"""The application load balancer: TLS ends here, plain HTTP is sent on to it, and each request is logged.

It answers 404 by itself: rules lead from its listener to workloads (`routing`). Used by the entrance stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from slipway.infra.constructs.log_bucket import LOAD_BALANCERS
from slipway.infra.reasons import accept

OldestTls = Literal["1.3", "1.2"]
# Each refuses what is older than it says. The second also takes 1.3, and of 1.2 only ciphers with forward secrecy.
_POLICIES: Final[dict[OldestTls, str]] = {
    "1.3": "ELBSecurityPolicy-TLS13-1-3-2021-06",
    "1.2": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
}
# A model may think for minutes before it says its first word; ELB's default is one minute.
_IDLE_S: Final = 300
_HTTP: Final = 80
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The certificate that the listener shows, and the oldest version that it speaks."""

    certificate_arn: str
    oldest: OldestTls


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerProps:
    """`public` says whether the internet reaches it. Without `tls` it listens at 80, which only a private one may.

    `log_bucket` takes the access logs; None keeps none. `protected` refuses deletion until somebody lifts it.
    """

    public: bool
    subnet_ids: Sequence[str]
    security_group_id: str
    tls: Tls | None
    log_bucket: str | None
    protected: bool


class LoadBalancer(Construct):
    """One load balancer: `arn`, `full_name` as metrics name it, `dns_name` and `zone_id` for aliases, `listener_arn`.

    Raises ValueError when the internet would reach it without TLS.
    """

    def __init__(self, scope: Construct, construct_id: str, props: LoadBalancerProps) -> None:
        super().__init__(scope, construct_id)
        if props.public and props.tls is None:
            raise ValueError("A load balancer that the internet reaches has a certificate.")
        self.resource = elb.CfnLoadBalancer(
            self,
            "LoadBalancer",
            type="application",
            scheme="internet-facing" if props.public else "internal",
            ip_address_type="ipv4",
            subnets=list(props.subnet_ids),
            security_groups=[props.security_group_id],
            load_balancer_attributes=[
                elb.CfnLoadBalancer.LoadBalancerAttributeProperty(key=key, value=value)
                for key, value in sorted(_attributes(props).items())
            ],
        )
        if props.log_bucket is None:
            accept(self.resource, {"AwsSolutions-ELB2": "The manifest says access_logs: false."})
        self.arn = self.resource.ref
        self.full_name = self.resource.attr_load_balancer_full_name
        self.dns_name = self.resource.attr_dns_name
        self.zone_id = self.resource.attr_canonical_hosted_zone_id
        self.listener = self._plain_listener() if props.tls is None else self._tls_listener(props.tls)
        self.listener_arn = self.listener.ref
        if props.public:
            self._redirect()

    def _tls_listener(self, tls: Tls) -> elb.CfnListener:
        return elb.CfnListener(
            self,
            "Https",
            load_balancer_arn=self.arn,
            port=_HTTPS,
            protocol="HTTPS",
            ssl_policy=_POLICIES[tls.oldest],
            certificates=[elb.CfnListener.CertificateProperty(certificate_arn=tls.certificate_arn)],
            default_actions=[_not_found()],
        )

    def _plain_listener(self) -> elb.CfnListener:
        """For callers inside the VPC, where there is no domain and so no name that a certificate could be for."""
        return elb.CfnListener(
            self, "Http", load_balancer_arn=self.arn, port=_HTTP, protocol="HTTP", default_actions=[_not_found()]
        )

    def _redirect(self) -> None:
        """Sends whoever comes without TLS to the same address with it."""
        elb.CfnListener(
            self,
            "Redirect",
            load_balancer_arn=self.arn,
            port=_HTTP,
            protocol="HTTP",
            default_actions=[
                elb.CfnListener.ActionProperty(
                    type="redirect",
                    redirect_config=elb.CfnListener.RedirectConfigProperty(
                        protocol="HTTPS", port=str(_HTTPS), status_code="HTTP_301"
                    ),
                )
            ],
        )


def _attributes(props: LoadBalancerProps) -> dict[str, str]:
    attributes = {
        "deletion_protection.enabled": _flag(props.protected),
        "idle_timeout.timeout_seconds": str(_IDLE_S),
        "routing.http.drop_invalid_header_fields.enabled": "true",
        "routing.http.desync_mitigation_mode": "defensive",
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
        "routing.http.xff_header_processing.mode": "append",
        "waf.fail_open.enabled": "false",  # what the firewall cannot judge does not pass
        "access_logs.s3.enabled": _flag(props.log_bucket is not None),
    }
    if props.log_bucket is not None:
        attributes |= {"access_logs.s3.bucket": props.log_bucket, "access_logs.s3.prefix": LOAD_BALANCERS}
    return attributes


def _not_found() -> elb.CfnListener.ActionProperty:
    return elb.CfnListener.ActionProperty(
        type="fixed-response",
        fixed_response_config=elb.CfnListener.FixedResponseConfigProperty(
            status_code="404", content_type="text/plain", message_body="Not found"
        ),
    )


def _flag(value: bool) -> str:
    return "true" if value else "false"

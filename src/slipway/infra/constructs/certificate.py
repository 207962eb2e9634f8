"""A certificate of ACM, proven by a record in the hosted zone: ACM renews it for as long as the record stands."""

from collections.abc import Sequence

from aws_cdk import aws_certificatemanager
from constructs import Construct


class Certificate(Construct):
    """A certificate for `name` and `others`; `arn` is there once the zone's record proved it."""

    def __init__(
        self, scope: Construct, identifier: str, *, name: str, zone_id: str, others: Sequence[str] = ()
    ) -> None:
        super().__init__(scope, identifier)
        self.resource = aws_certificatemanager.CfnCertificate(
            self,
            "Certificate",
            domain_name=name,
            subject_alternative_names=list(others) or None,
            validation_method="DNS",
            domain_validation_options=[
                {"domainName": each, "hostedZoneId": zone_id} for each in dict.fromkeys((name, *others))
            ],
            key_algorithm="EC_prime256v1",
        )
        self.arn = self.resource.ref

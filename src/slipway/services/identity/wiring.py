"""Wires identity: administration and the built-in issuer."""

from slipway.runtime.authentication.internal import derived_key
from slipway.runtime.authentication.issuers import own_issuer_of
from slipway.runtime.part import Foundation, Part
from slipway.services.identity.adapter_postgres import PostgresDirectory
from slipway.services.identity.adapter_postgres_grants import PostgresGrants, PostgresSigningKeys
from slipway.services.identity.issuer import Issuer
from slipway.services.identity.routes import routes
from slipway.services.identity.routes_issuer import routes_issuer
from slipway.services.identity.service import IdentityService
from slipway.services.identity.signing import SigningKeys


def wire(foundation: Foundation) -> Part:
    """The part `identity`."""
    clock = foundation.clock
    own = own_issuer_of(foundation.settings, foundation.url)
    signing = SigningKeys(PostgresSigningKeys(foundation.database), foundation.secrets, clock)
    issuer = Issuer(
        PostgresGrants(foundation.database),
        signing,
        own,
        tenant_claim=foundation.manifest.tenant_claim,
        form_key=derived_key(foundation.secrets[0], "login forms"),
        clock=clock,
    )
    service = IdentityService(PostgresDirectory(foundation.database), clock)
    return Part(
        name="identity",
        routes=[routes(service, signing), routes_issuer(issuer, own.url)],
        start=[signing.start],
        run={"signing keys": signing.run, "expired grants": issuer.run},
    )

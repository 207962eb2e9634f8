"""Identity: tenants, users, API keys, OAuth clients, and the built-in OpenID Connect issuer for development."""

"""HTTP of the built-in issuer. Its errors are OAuth's (RFC 6749 section 5.2), since OAuth clients read them."""

import secrets
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from slipway.api.identity import TokenResponse
from slipway.base.errors import LimitExceeded, Unauthenticated
from slipway.runtime.http.routes import Open, Routes
from slipway.services.identity.issuer import Issuer
from slipway.services.identity.login_page import login_page, page_headers, refusal_page
from slipway.services.identity.oauth_requests import Refused, single

_MAX_BODY_BYTES: Final = 64 * 1024
_COOKIE: Final = "slipway_login"
_NO_STORE: Final = {"cache-control": "no-store", "pragma": "no-cache"}
_FORM_BODY: Final[dict[str, Any]] = {
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
}


def routes_issuer(issuer: Issuer, url: str) -> Routes:
    """The issuer's endpoints below `url`."""
    routes = Routes("issuer")
    _discovery(routes, issuer)
    _authorization(routes, issuer, url)
    _tokens(routes, issuer)
    return routes


def _discovery(routes: Routes, issuer: Issuer) -> None:
    @routes.add(
        "GET", "/.well-known/openid-configuration", access=Open("discovery: what anybody may know of the issuer")
    )
    async def configuration_get() -> JSONResponse:
        """Where the issuer's endpoints are (OpenID Connect Discovery)."""
        return JSONResponse(issuer.configuration(), headers={"cache-control": "public, max-age=300"})

    @routes.add("GET", "/.well-known/jwks.json", access=Open("public keys"))
    async def jwks_get() -> JSONResponse:
        """The public keys that verify the issuer's tokens (RFC 7517)."""
        return JSONResponse(await issuer.jwks(), headers={"cache-control": "public, max-age=300"})


def _authorization(routes: Routes, issuer: Issuer, url: str) -> None:
    # `url` has a path where something in front of the platform takes one away, as API Gateway does with its stage.
    secure, cookie_path = url.startswith("https:"), f"{urlsplit(url).path.rstrip('/')}/oauth2"

    @routes.add("GET", "/oauth2/authorize", access=Open("shows the login form"), responses=_html(302))
    async def authorize(request: Request) -> Response:
        """Starts signing in: authorization code with PKCE (S256)."""
        try:
            fields = single(request.query_params.multi_items())
            client, redirect_uri = await issuer.client_of(fields)
        except Refused as refused:
            return _refusal(refused)
        try:
            asked = issuer.request_of(client, redirect_uri, fields)
        except Refused as refused:
            return RedirectResponse(issuer.refusal_url(redirect_uri, fields, refused), 302, headers=_NO_STORE)
        browser = request.cookies.get(_COOKIE) or secrets.token_urlsafe(32)
        page = login_page(f"{url}/oauth2/authorize", issuer.form_of(asked, browser), client.name)
        answer = HTMLResponse(page, headers=page_headers(redirect_uri))
        answer.set_cookie(
            _COOKIE, browser, max_age=600, path=cookie_path, httponly=True, samesite="strict", secure=secure
        )
        return answer

    @routes.add(
        "POST",
        "/oauth2/authorize",
        access=Open("the login form carries e-mail address and password"),
        max_body_bytes=_MAX_BODY_BYTES,
        responses=_html(303),
        openapi_extra=_FORM_BODY,
        errors=(Unauthenticated, LimitExceeded),
    )
    async def sign_in(request: Request) -> Response:
        """Takes the login form and sends the browser back to the application with a code."""
        try:
            fields = single(await _form(request))
            asked = issuer.form_read(fields.get("form", ""), request.cookies.get(_COOKIE, ""))
            client, _ = await issuer.client_of({"client_id": asked.client_id, "redirect_uri": asked.redirect_uri})
            email = fields.get("email", "")
            try:
                location = await issuer.sign_in(asked, email, fields.get("password", ""))
            except (Unauthenticated, LimitExceeded) as error:
                headers = page_headers(asked.redirect_uri)
                if error.retry_after_s is not None:
                    headers["retry-after"] = str(round(error.retry_after_s))
                page = login_page(f"{url}/oauth2/authorize", fields["form"], client.name, email, error.public)
                return HTMLResponse(page, 401 if isinstance(error, Unauthenticated) else 429, headers)
        except Refused as refused:
            return _refusal(refused)
        answer = RedirectResponse(location, 303, headers={**_NO_STORE, "referrer-policy": "no-referrer"})
        answer.delete_cookie(_COOKIE, path=cookie_path, httponly=True, samesite="strict", secure=secure)
        return answer


def _tokens(routes: Routes, issuer: Issuer) -> None:
    @routes.add(
        "POST",
        "/oauth2/token",
        access=Open("the client and its grant prove themselves in the body (RFC 6749)"),
        response=TokenResponse,
        max_body_bytes=_MAX_BODY_BYTES,
        openapi_extra=_FORM_BODY,
    )
    async def token(request: Request) -> Response:
        """Tokens for a code, a refresh token or a client's own credentials."""
        try:
            answer = await issuer.token(single(await _form(request)), request.headers.get("authorization"))
        except Refused as refused:
            return _oauth_error(refused)
        return JSONResponse(answer.model_dump(exclude_none=True), headers=_NO_STORE)

    @routes.add(
        "POST",
        "/oauth2/revoke",
        access=Open("the client proves itself in the body (RFC 7009)"),
        max_body_bytes=_MAX_BODY_BYTES,
        openapi_extra=_FORM_BODY,
    )
    async def revoke(request: Request) -> Response:
        """Ends a refresh token and every one that came of the same sign-in."""
        try:
            await issuer.revoke(single(await _form(request)), request.headers.get("authorization"))
        except Refused as refused:
            return _oauth_error(refused)
        return Response(status_code=200, headers=_NO_STORE)


async def _form(request: Request) -> Sequence[tuple[str, str]]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refused("invalid_request", "Send application/x-www-form-urlencoded.")
    try:
        return parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=30)
    except ValueError:
        raise Refused("invalid_request", "The form is not valid.") from None


def _refusal(refused: Refused) -> Response:
    return HTMLResponse(refusal_page(refused.public), 400, page_headers())


def _oauth_error(refused: Refused) -> Response:
    body = {"error": refused.error, "error_description": refused.public}
    if refused.error == "invalid_client":
        return JSONResponse(body, 401, {**_NO_STORE, "www-authenticate": 'Basic realm="slipway"'})
    return JSONResponse(body, 400, _NO_STORE)


def _html(redirect: int) -> dict[int, dict[str, Any]]:
    return {200: {"description": "A page", "content": {"text/html": {}}}, redirect: {"description": "A redirect"}}

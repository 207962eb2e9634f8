"""The two pages of the issuer: the login form and a plain refusal. No script, no asset from anywhere."""

import base64
import hashlib
from html import escape
from typing import Final
from urllib.parse import urlsplit

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0;color:#1b1f24}"
    "main{width:min(22rem,90vw)}h1{font-size:1.3rem}label{display:block;margin:.9rem 0}"
    "input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;border:1px solid #767c85;border-radius:.3rem}"
    "button{font:inherit;padding:.5rem 1rem;border:0;border-radius:.3rem;background:#1452cc;color:#fff;width:100%}"
    "[role=alert]{color:#a3161f}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def login_page(action: str, form: str, client_name: str, email: str = "", problem: str = "") -> str:
    """The login form, with what went wrong the last time."""
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return _page(
        "Sign in",
        f"<h1>Sign in to {escape(client_name)}</h1>{alert}"
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="form" value="{escape(form)}">'
        '<label>E-mail <input name="email" type="email" autocomplete="username" required '
        f'value="{escape(email)}"></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
        "<button>Sign in</button></form>",
    )


def refusal_page(problem: str) -> str:
    """A refusal that must not be sent to the client, since who asked is in doubt."""
    return _page("Not possible", f'<h1>This sign-in is not possible</h1><p role="alert">{escape(problem)}</p>')


def page_headers(redirect_uri: str | None = None) -> dict[str, str]:
    """Headers of both pages. `form-action` holds for the redirect after a form too, so it names that target."""
    target = ""
    if redirect_uri is not None:
        parts = urlsplit(redirect_uri)
        target = f" {parts.scheme}://{parts.netloc}"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'{target}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title} · Slipway</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )

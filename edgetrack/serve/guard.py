"""Who may talk to the server: host names, origins, token, and the headers that go with every answer."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "is_loopback"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# A redirect would keep the other site as the one that sent the visitor, and a strict cookie would not be sent with it.
_WELCOME = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>edgetrack</title><a href="/">Go on</a>'
_POLICY_VIOLATION = 1008


class Guard:
    """Lets only those requests through that are meant for this server and come from its own page or from no page.

    Host: an address, localhost, or a name that was allowed; bound to this machine alone, only its own addresses. So a
    foreign name that is made to point here (DNS rebinding) is refused. Origin: where a browser names one it must be
    this server, for everything that changes something and for web sockets. Token: where there is one, it must come in
    the header `Authorization: Bearer`, or in the cookie that a visit of `/?token=...` sets.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, local_only: bool, hosts: Iterable[str] = (), cookie: str = "edgetrack"
    ) -> None:
        """Put the guard before `app`.

        Args:
            app: is called with what is let through.
            token: None where none is needed.
            local_only: bound to this machine's own addresses.
            hosts: further names of this machine.
            cookie: name of the cookie; servers of one machine share theirs, so each needs its own.
        """
        self._app = app
        self._token = token
        self._local_only = local_only
        self._hosts = {host.lower() for host in hosts}
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        sender = _with_headers(send) if scope["type"] == "http" else send
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, sender)
        elif scope["type"] == "http":
            await refusal(scope, receive, sender)
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._knows(host):
            return _refuse(421, f"host {host[:80]!r} is not this server; see `edgetrack serve --allow-host`")
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not _same_origin(headers, host):
            return _refuse(403, f"origin {headers.get('origin', '')[:80]!r} is another site; open the page itself")
        if self._token is None:
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["type"] == "http" and scope["path"] == "/" and self._is_token(query.get("token", [""])[0]):
            return self._welcome()
        if self._is_token(_bearer(headers)) or self._is_token(self._from_cookie(headers)):
            return None
        return _refuse(401, "a token is needed; open the address that `edgetrack serve` printed")

    def _knows(self, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._local_only

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _from_cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _welcome(self) -> Response:
        response = HTMLResponse(_WELCOME)
        response.set_cookie(self._cookie, self._token or "", httponly=True, samesite="strict", path="/")
        return response


def is_loopback(host: str) -> bool:
    """Tell whether an address to bind to is one that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str | None:
    """Return the name in a Host header, lower case and without port; None where it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.hostname if plain and parts.hostname else None


def _same_origin(headers: Headers, host: str) -> bool:
    """Programs send neither header; a browser sends one of them with every request that counts here."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _bearer(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sender

"""The outermost layer of everything served: who may speak to it, and under which name.

A page in a browser on this machine can send requests to 127.0.0.1 too: by a name of its own that resolves to it
(so the Host header must name us), or across sites (so an Origin, where there is one, must be ours).
"""

import hmac
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mira_stream.errors import UsageError
from mira_stream.http.refusals import Refusals

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")
COOKIE: Final = "mira_token"
"""Where a browser keeps the token (and the port): an event stream cannot send an Authorization header."""
TOKEN_WRONG: Final = "token_wrong"
"""The code of requests that show another token, or none."""


def check_bind(host: str, token: str) -> None:
    """Raises UsageError(token_missing): what others can reach asks for a token."""
    if not is_loopback(host) and not token:
        raise UsageError(
            "token_missing", f"{host} can be reached from other machines", "set a token, or bind 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def guarded(
    app: ASGIApp,
    *,
    token: str = "",
    names: Collection[str] | None = LOOPBACK_NAMES,
    refusals: Refusals | None = None,
    without_token: Collection[str] = (),
) -> ASGIApp:
    """`app` behind the checks. `names`: host names it answers to, at any port; None: all, only with a token.
    `without_token`: paths that nobody is asked for it at (probes: who watches a service has no visitor's token).

    421 for another Host, 403 for a page of another origin, 401 without the token: `Authorization: Bearer TOKEN`, the
    cookie `mira_token_PORT`, or `?token=TOKEN`, which is answered by that cookie and the same address without it.
    `refusals` hears of each.
    """
    if names is None and not token:
        raise ValueError("any name only with a token")
    known = None if names is None else frozenset(names)
    return _Guard(app, token.encode(), known, refusals or Refusals(), frozenset(without_token))


class _Guard:
    def __init__(
        self,
        app: ASGIApp,
        token: bytes,
        names: frozenset[str] | None,
        refusals: Refusals,
        without_token: frozenset[str],
    ) -> None:
        self._app = app
        self._token = token
        self._names = names
        self._refusals = refusals
        self._without_token = without_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._names is not None and _name(host) not in self._names:
            return self._error(scope, 421, "host_unknown", "the Host header is not a name of this service")
        if origin is not None and _place(origin) != host:
            return self._error(scope, 403, "origin_refused", "pages of another origin may not use this service")
        if not self._token or scope["path"] in self._without_token or self._is_token(_shown(headers)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and any(name == "token" and self._is_token(value) for name, value in query):
            return self._remembered(scope["path"], query, host)
        answer = self._error(scope, 401, TOKEN_WRONG, "send the header Authorization: Bearer TOKEN")
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self._token)

    def _remembered(self, path: str, query: list[tuple[str, str]], host: str) -> Response:
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        where = "/" + quote(path.lstrip("/"))  # never another host's: //host/path
        answer = RedirectResponse(f"{where}?{rest}" if rest else where, 303)
        answer.set_cookie(_cookie(host), self._token.decode(), httponly=True, samesite="strict")
        return answer

    def _error(self, scope: Scope, status: int, code: str, cause: str) -> JSONResponse:
        self._refusals.add(code, cause, (scope.get("client") or [""])[0])
        return JSONResponse({"error": {"code": code, "cause": cause}}, status, {"cache-control": "no-store"})


def _shown(headers: Headers) -> str:
    """The token a request shows; empty without one."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    return cookie_parser(headers.get("cookie", "")).get(_cookie(headers.get("host", "")), "")


def _name(host: str) -> str:
    """The name of `name:port` and `[v6]:port`, in small letters."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """`host:port` of an Origin; None if it names none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _cookie(host: str) -> str:
    """A browser keeps one cookie of a name for all ports of a host; several of our services may have a token there."""
    try:
        return f"{COOKIE}_{urlsplit(f'//{host}').port or 80}"
    except ValueError:
        return COOKIE

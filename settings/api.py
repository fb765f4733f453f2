"""How the HTTP API is guarded: how often it may be asked, by which web sites, and for how long a login lasts."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from settings.base import EnvSettings
from settings.variables import OriginList, Seconds, Unit

PerMinute = Annotated[int, Field(ge=0), Unit("requests")]


class ApiSettings(EnvSettings):
    """The HTTP API's limits and logins. All web processes together share a limit; 0 means no limit."""

    model_config = SettingsConfigDict(env_prefix="API_")

    user_per_minute: PerMinute = 600
    """How many requests a user may make in a minute, orders not counted. A person makes a few, a shop's own system
    many."""

    anonymous_per_minute: PerMinute = 120
    """How many requests an IP address may make in a minute without being logged in."""

    orders_per_minute: PerMinute = 30
    """How many orders a user may post in a minute, refused ones included."""

    logins_per_minute: PerMinute = 10
    """How often an IP address may try a password in a minute, on all login pages together."""

    failed_logins_per_account: Annotated[int, Field(ge=0), Unit("attempts")] = 20
    """How often a wrong password may be given for one account in 15 minutes, from all addresses together. After that,
    each address may try once a minute: guessing is slow, and the customer can still log in."""

    cors_allowed_origins: OriginList = ()
    """Origins whose scripts may use the API from a browser, with their scheme: `https://shop.example.com`.
    If unset, no origin may."""

    access_token_minutes: Annotated[int, Unit("minutes")] = Field(default=10, ge=1)
    """How long an access token (JWT) is valid. It cannot be revoked, so a short time is safer."""

    refresh_token_days: int = Field(default=14, ge=1)
    """How long a refresh token is valid. It can be used once; using it returns a new one."""

    https_redirect: bool = True
    """Whether production redirects requests without TLS to https. Behind a proxy that terminates TLS, the proxy must
    set `X-Forwarded-Proto` and TRUST_PROXY_HEADERS must be true; otherwise every request is redirected without end."""

    hsts_seconds: Seconds = Field(default=31_536_000, ge=0)
    """How long a browser that has visited production uses https only. Browsers remember it: use 0 while trying out."""

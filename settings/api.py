"""How the HTTP API is guarded: how often it may be asked, by which web sites, and for how long a login lasts."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from settings.base import EnvSettings
from settings.variables import OriginList, Seconds, Unit

PerMinute = Annotated[int, Field(ge=0), Unit("requests")]


class ApiSettings(EnvSettings):
    """The HTTP API's limits and logins. A limit of 0 is no limit; it holds for all web processes together."""

    model_config = SettingsConfigDict(env_prefix="API_")

    user_per_minute: PerMinute = 600
    """How many requests a user may make in a minute, orders aside. A person makes a few; a shop's own system many."""

    anonymous_per_minute: PerMinute = 120
    """How many requests an IP address may make in a minute without being logged in."""

    orders_per_minute: PerMinute = 30
    """How many orders a user may post in a minute, refused ones included."""

    logins_per_minute: PerMinute = 10
    """How often an IP address may try a password in a minute, on all login pages together."""

    cors_allowed_origins: OriginList = ()
    """Origins whose scripts may use the API from a browser, with their scheme: `https://shop.example.com`.
    Unset, none may."""

    access_token_minutes: Annotated[int, Unit("minutes")] = Field(default=10, ge=1)
    """How long an access token (JWT) is good. It cannot be taken back: shorter is safer."""

    refresh_token_days: int = Field(default=14, ge=1)
    """How long a refresh token is good. Each is good once: using it gives another one."""

    https_redirect: bool = True
    """Whether production sends requests without TLS to https. A proxy that ends TLS must set `X-Forwarded-Proto`, and
    TRUST_PROXY_HEADERS must be true, or every request is sent in circles."""

    hsts_seconds: Seconds = Field(default=31_536_000, ge=0)
    """How long browsers that have seen production use https only. 0 while trying out: they remember it."""

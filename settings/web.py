"""How the web server listens, and how many requests it answers at once. `gunicorn.conf.py` reads this."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from settings.base import EnvSettings

Count = Annotated[int, Field(ge=1)]


class WebSettings(EnvSettings):
    """gunicorn's settings. Each process holds up to `threads` database connections."""

    model_config = SettingsConfigDict(env_prefix="WEB_")

    bind: str = "127.0.0.1:8000"
    """Address and port to listen on, or `unix:` and the path of a socket. In a container `0.0.0.0:8000`."""

    processes: Count = 2
    """Web server processes. On SQLite there is always one: writers of several would wait for each other."""

    threads: Count = 8
    """Requests that one process answers at a time."""

    connections: Count = 500
    """Connections that one process keeps open at a time, idle and slow ones included. Each is an open file; when all
    are in use, new ones wait."""

    receive_seconds: Count = 10
    """How long a request, head and body, may take to arrive. A slower one is answered with 408."""

    keep_alive_seconds: Count = 75
    """How long an idle connection is kept for the next request: longer than the proxy in front keeps it."""

    graceful_stop_seconds: Count = 30
    """How long running requests may take to finish after the server was told to stop."""

"""schemathesis makes up requests from the OpenAPI description and sends them to the running server, whoever one is.

All its checks: no 5xx, no answer that is not documented, nothing accepted that the description rules out, no access
without credentials, in single requests and in sequences of them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest
import requests

from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.servers import Servers
from tests.harness.service import Service, Surroundings
from tests.harness.smtp import MailServer

#: For each of the three roles: about 600 requests.
SECONDS = 15


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Service]:
    """The web server alone, on SQLite: nothing here needs a broker."""
    database, mail_server = servers.databases("sqlite").create(), MailServer()
    service = Service(tmp_path_factory.mktemp("web"), Surroundings(servers.broker("redis"), database, mail_server))
    service.start_web()
    yield service
    service.stop()
    database.drop()


def credentials(site: Service, role: str) -> list[str]:
    if role == "anonymous":
        return []
    login = {"customer": "demo", "staff": "admin"}[role]
    url = f"http://127.0.0.1:{site.port}/auth/jwt/"
    tokens = requests.post(url, json={"username": login, "password": login}, timeout=30).json()
    return ["--header", f"Authorization: Bearer {tokens['access']}"]


@pytest.mark.parametrize("role", ["anonymous", "customer", "staff"])
def test_nothing_that_can_be_made_up_gets_an_answer_that_is_not_documented(
    site: Service, role: str, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).parent / "schemathesis")]
    command += ["--config-file", str(PROJECT_ROOT / "tests" / "schemathesis.toml")]
    command += ["run", f"http://127.0.0.1:{site.port}/schema/", "--max-time", str(SECONDS)]
    done = run(
        [*command, "--no-color", "--warnings", "off", *credentials(site, role)],
        cwd=tmp_path,
        env=child_environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

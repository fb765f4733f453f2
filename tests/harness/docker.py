"""RabbitMQ and PostgreSQL from their images, where they are not installed and cannot be: same methods, same faults."""

import subprocess
from pathlib import Path

from app.first_run.embedded import EmbeddedRabbitMQ
from app.first_run.processes import ChildProcess, Server, ServerError
from tests.harness.postgres import PostgresServer
from tests.harness.requirements import POSTGRESQL, RABBITMQ

#: Pulling an image included.
START_SECONDS = 300.0


def docker(*arguments: str) -> str:
    """The output of a docker command. Raises ServerError with docker's words if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ServerError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Container(Server):
    """A server whose process is a container's. Its data live as long as the container: until `remove()`."""

    image: str
    container_port: int
    settings: tuple[str, ...] = ()
    start_seconds = START_SECONDS

    def __init__(self, directory: Path, port: int | None = None) -> None:
        super().__init__(directory, port)
        self._container = ""

    def build_processes(self) -> list[ChildProcess]:
        return []

    @property
    def is_running(self) -> bool:
        return bool(self._container) and docker("inspect", "-f", "{{.State.Running}}", self._container) == "true"

    def start(self) -> None:
        if self._container:
            docker("start", self._container)
        else:
            publish = f"127.0.0.1:{self.port}:{self.container_port}"
            options = [word for setting in self.settings for word in ("-e", setting)]
            self._container = docker("run", "-d", "-p", publish, *options, self.image)
        self._wait_until_it_answers()

    def stop(self) -> None:
        self.thaw()
        if self.is_running:
            docker("stop", self._container)

    def kill(self) -> None:
        if self.is_running:
            docker("kill", self._container)

    def freeze(self) -> None:
        docker("pause", self._container)

    def thaw(self) -> None:
        if self._container and docker("inspect", "-f", "{{.State.Paused}}", self._container) == "true":
            docker("unpause", self._container)

    def run_inside(self, *command: str) -> str:
        """The output of a command that the running container has."""
        return docker("exec", self._container, *command)

    def remove(self) -> None:
        """Delete the container and its data."""
        if self._container:
            docker("rm", "-f", "-v", self._container)

    def _failure(self) -> ServerError:
        words = docker("logs", "--tail", "15", self._container)
        return ServerError(f"{self.title} in Docker does not answer on port {self.port}:\n{words}")


class DockerRabbitMQ(Container, EmbeddedRabbitMQ):
    image = RABBITMQ.image
    container_port = 5672


class DockerPostgres(Container, PostgresServer):
    image = POSTGRESQL.image
    container_port = 5432
    settings = ("POSTGRES_USER=anybroker", "POSTGRES_DB=postgres", "POSTGRES_HOST_AUTH_METHOD=trust")

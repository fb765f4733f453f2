from django.apps import AppConfig
from django.conf import settings


class ServiceConfig(AppConfig):
    name = "app"

    def ready(self) -> None:
        from app import checks  # noqa: F401 - registers them
        from app.telemetry.install import install

        install(settings.TELEMETRY, environment=settings.SERVICE.environment)

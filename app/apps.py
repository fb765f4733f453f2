from django.apps import AppConfig


class ServiceConfig(AppConfig):
    name = "app"

    def ready(self) -> None:
        from app import checks  # noqa: F401 - registers them

"""The app that Celery's suite is run against, for its worker and for its tests: `celery -A tests.celery_suite.subject`.

CELERY_SUITE says which: `stock` is Celery as it is; `durable` has durable tasks that retry only where they say so, as
the suite expects; `direct` is this project's app with tasks that opt out of the ledger.
"""

import os
from typing import Any

from celery import Celery

KIND = os.environ["CELERY_SUITE"]

#: What the suite's own configuration says.
RESULTS = {
    "result_backend": os.environ["TEST_BACKEND"],
    "result_extended": True,
    "task_ignore_result": False,
    # Celery's own defaults.
    "broker_pool_acquire_timeout": None,
    "task_time_limit": None,
    "task_soft_time_limit": None,
}


def stock_app() -> Celery:
    app = Celery("stock", broker=os.environ["TEST_BROKER"])
    app.conf.update(accept_content=["json"], worker_prefetch_multiplier=4, **RESULTS)
    return app


def our_app() -> Celery:
    os.environ["DJANGO_SETTINGS_MODULE"] = "app.settings"
    import django

    django.setup()
    from outbox.app import OutboxCelery
    from outbox.task import OutboxTask

    celerys = {"autoretry_for": (), "max_retries": 3}
    choices: dict[str, Any] = {"abstract": True, "durable": KIND == "durable", **celerys}
    app = OutboxCelery("app", task_cls=type("SuiteTask", (OutboxTask,), {**choices, "__module__": __name__}))
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(RESULTS)
    app.autodiscover_tasks()
    return app


app = stock_app() if KIND == "stock" else our_app()
app.set_default()
app.conf.include = ["t.integration.tasks", "tests.celery_suite.class_tasks"]

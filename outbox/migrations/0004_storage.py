from typing import Any

from django.db import migrations

#: Every message is written about five times and deleted: dead rows must not pile up to a fifth of the table, as by
#: default. The rest keeps a vacuum from sleeping for longer than it works.
AUTOVACUUM = {
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_delay": "1",
}


def set_autovacuum(apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(f"ALTER TABLE outbox_message SET ({', '.join(f'{k} = {v}' for k, v in AUTOVACUUM.items())})")


def reset_autovacuum(apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(f"ALTER TABLE outbox_message RESET ({', '.join(AUTOVACUUM)})")


class Migration(migrations.Migration):
    dependencies = [("outbox", "0003_claims_and_pauses")]

    operations = [migrations.RunPython(set_autovacuum, reset_autovacuum)]

from django.db import migrations, models


class Migration(migrations.Migration):
    """After this one processes of release 0.1 can no longer enqueue: their `ON CONFLICT` needs the old constraint."""

    dependencies = [("outbox", "0006_options")]

    operations = [
        migrations.AlterField("message", "occurrence", models.CharField(blank=True, max_length=255, null=True)),
    ]

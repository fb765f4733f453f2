"""What a call says of itself, in a column that old code need not know."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("outbox", "0005_indexes_of_what_passes")]

    operations = [
        migrations.AddField("message", "options", models.TextField(blank=True, db_default="", default="")),
    ]

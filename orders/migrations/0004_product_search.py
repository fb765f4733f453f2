"""An index for the search of products, on PostgreSQL. Made beside running processes; none of them needs it."""

from django.db import migrations
from django.db.utils import NotSupportedError, OperationalError, ProgrammingError

INDEX = """
    CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_product_search ON orders_product USING gin (
        UPPER(sku::text) gin_trgm_ops, UPPER(name::text) gin_trgm_ops, UPPER(description::text) gin_trgm_ops
    )
"""


def create_index(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != 'postgresql':
        return
    with connection.cursor() as cursor:
        try:
            cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
        except (NotSupportedError, OperationalError, ProgrammingError) as error:
            print(f'\n  The search of products has no index: pg_trgm cannot be installed ({str(error).strip()}).')
            return
        # One that was interrupted is there and cannot be used.
        cursor.execute("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('orders_product_search') AND NOT indisvalid")
        if cursor.fetchone():
            cursor.execute('DROP INDEX CONCURRENTLY orders_product_search')
        cursor.execute(INDEX)


def drop_index(apps, schema_editor):
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('DROP INDEX CONCURRENTLY IF EXISTS orders_product_search')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [('orders', '0003_order_history_and_confirmation')]

    operations = [migrations.RunPython(create_index, drop_index)]

"""Three groups of staff to begin with. They are only made here: change or delete them as you like."""

from django.db import migrations

GROUPS = {
    'support': {
        ('orders', 'order'): ('view', 'change'),
        ('orders', 'orderitem'): ('view',),
        ('orders', 'orderevent'): ('view',),
        ('orders', 'product'): ('view',),
    },
    'catalogue': {('orders', 'product'): ('view', 'add', 'change', 'delete')},
    'operator': {
        ('outbox', 'message'): ('view', 'change'),
        ('outbox', 'poisonmessage'): ('view', 'delete'),
        ('outbox', 'heartbeat'): ('view',),
    },
}


def make_groups(apps, schema_editor):
    ContentType = apps.get_model('contenttypes', 'ContentType')
    Permission = apps.get_model('auth', 'Permission')
    Group = apps.get_model('auth', 'Group')
    for name, rights in GROUPS.items():
        group, is_new = Group.objects.get_or_create(name=name)
        if not is_new:
            continue  # somebody's own group of this name
        for (app, model), actions in rights.items():
            # Django makes these rows after all migrations, unless they are there.
            kind, _ = ContentType.objects.get_or_create(app_label=app, model=model)
            for action in actions:
                title = f'Can {action} {TITLES.get(model, model)}'
                right, _ = Permission.objects.get_or_create(
                    content_type=kind, codename=f'{action}_{model}', defaults={'name': title}
                )
                group.permissions.add(right)


#: The names of models as Django writes them, where they are two words.
TITLES = {'orderitem': 'order item', 'orderevent': 'order event', 'poisonmessage': 'poison message'}


class Migration(migrations.Migration):

    dependencies = [
        ('app', '0003_no_token_in_clear'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]

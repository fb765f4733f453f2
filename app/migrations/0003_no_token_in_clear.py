"""Replaces the tokens that release 0.1 kept by their digests. Run it once no process of that release runs any more."""

from hashlib import sha256

from django.db import migrations

CHUNK = 1000


def digest_of(text):
    return sha256(text.encode()).hexdigest()


def keep_digests(apps, schema_editor):
    Token = apps.get_model('authtoken', 'Token')
    ApiToken = apps.get_model('app', 'ApiToken')
    while tokens := list(Token.objects.select_related('user')[:CHUNK]):
        ApiToken.objects.bulk_create(
            [
                ApiToken(digest=digest_of(each.key), user=each.user, password_mark=digest_of(each.user.password))
                for each in tokens
            ],
            ignore_conflicts=True,
        )
        Token.objects.filter(key__in=[each.key for each in tokens]).delete()
    # Only the id of a refresh token is ever looked up here.
    apps.get_model('token_blacklist', 'OutstandingToken').objects.exclude(token='').update(token='')


class Migration(migrations.Migration):

    dependencies = [
        ('app', '0002_tokens_as_digests'),
        ('authtoken', '0004_alter_tokenproxy_options'),
        ('token_blacklist', '0013_alter_blacklistedtoken_options_and_more'),
    ]

    operations = [migrations.RunPython(keep_digests, migrations.RunPython.noop)]

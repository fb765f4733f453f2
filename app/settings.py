"""Django's settings module: the typed environment and the broker's profile under Django's and Celery's names.

This file does not read the environment itself: the variables and their meaning are in `settings/` and `brokers/`.
"""

import logging
import sys
from datetime import timedelta
from typing import Any

from celery.schedules import crontab
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF, UNSAFE_INLINE

from app.telemetry import logs
from brokers import PROFILES, BrokerProfile, profile_class
from settings import PROJECT_ROOT
from settings.errors import SettingsError
from settings.loading import Loaded, load_service
from settings.telemetry import share_metrics
from settings.web import WebSettings


def _load_environment() -> Loaded[BrokerProfile]:
    """Read every setting. If any is wrong, exit with the list of mistakes, without a traceback."""
    try:
        loaded = load_service(profile_class, also_known=[*PROFILES.values(), WebSettings])
        if url := loaded.service.celery_broker_url:
            return loaded._replace(profile=loaded.profile.with_url(url.get_secret_value()))
    except SettingsError as error:
        sys.exit(str(error))
    return loaded


SERVICE, OUTBOX, API, TELEMETRY, BROKER_PROFILE = _load_environment()


def _celery_settings() -> dict[str, Any]:
    try:
        return BROKER_PROFILE.celery_settings(SERVICE.queues, SERVICE.outbox_foreign_queues)
    except SettingsError as error:
        sys.exit(str(error))


# --- Django -----------------------------------------------------------------------------------------------------------

SECRET_KEY = SERVICE.secret_key.get_secret_value()
DEBUG = SERVICE.debug
ALLOWED_HOSTS = list(SERVICE.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(SERVICE.csrf_trusted_origins)
LOGIN_REDIRECT_URL = "home"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "rest_framework_simplejwt.token_blacklist",
    "corsheaders",
    "csp",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "outbox",
    "workers",
    "orders",
    "console",
    "app",
]

MIDDLEWARE = [
    "app.health.HealthMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "app.api.negotiation.PrivateAnswersMiddleware",
    "app.api.problems.ProblemMiddleware",
    "app.api.limits.ThrottleMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "app.api.slashes.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Searched before the templates of the apps, so that ours override some of theirs.
        "DIRS": [PROJECT_ROOT / "app" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context.name_service",
            ]
        },
    }
]

ROOT_URLCONF = "app.urls"
WSGI_APPLICATION = "app.wsgi.application"
# The largest order has about 5 KB; a larger request than this is answered with 413 and not read.
DATA_UPLOAD_MAX_MEMORY_SIZE: int | None = 1024 * 1024
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DEFAULT_EXCEPTION_REPORTER_FILTER = "app.telemetry.reporting.NoURLs"

DATABASES = SERVICE.databases
# Of web's statements; `app/wsgi.py` sets it.
STATEMENT_SECONDS = SERVICE.database_statement_timeout
CACHES = SERVICE.caches

LANGUAGE_CODE = "en"
TIME_ZONE = SERVICE.time_zone
USE_TZ = True

STATIC_URL = f"{SERVICE.script_name}/static/"
FORCE_SCRIPT_NAME = SERVICE.script_name or None
STATIC_ROOT = PROJECT_ROOT / "staticfiles"
if not DEBUG:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Who may do what, and how safely ----------------------------------------------------------------------------------

if SERVICE.is_production:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = API.https_redirect
    SECURE_HSTS_SECONDS = API.hsts_seconds
# HSTS for subdomains, and preloading: we cannot promise that every other name below this domain uses https for ever.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if SERVICE.trust_proxy_headers:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# `app/api/client_address.py` reads it.
TRUSTED_PROXIES = SERVICE.proxies

# Pages load everything from this service, and none has an inline script. REST framework's pages have inline styles.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
CORS_ALLOWED_ORIGINS = list(API.cors_allowed_origins)
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key"]
CORS_EXPOSE_HEADERS = ["Idempotent-Replayed", "Location", "Retry-After"]

#: Requests in a minute (failed logins of an account: in 15); 0 means no limit. `app/api/throttling.py` says how they
#: are counted.
THROTTLES = {
    "user": API.user_per_minute,
    "anonymous": API.anonymous_per_minute,
    "orders": API.orders_per_minute,
    "logins": API.logins_per_minute,
    "failed logins": API.failed_logins_per_account,
}

SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=API.access_token_minutes),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=API.refresh_token_days),
    "ROTATE_REFRESH_TOKENS": True,
    # A new password makes all earlier tokens void.
    "CHECK_REVOKE_TOKEN": True,
    "TOKEN_OBTAIN_SERIALIZER": "app.api.tokens.LoginSerializer",
    "TOKEN_REFRESH_SERIALIZER": "app.api.tokens.RefreshSerializer",
    "TOKEN_BLACKLIST_SERIALIZER": "app.api.tokens.LogoutSerializer",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
        "app.api.lasting_tokens.LastingTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PARSER_CLASSES": ["app.api.parsers.BoundedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "app.api.negotiation.Negotiation",
    "DEFAULT_THROTTLE_CLASSES": ["app.api.throttling.SharedThrottle"],
    "EXCEPTION_HANDLER": "app.api.problems.describe_exception",
    "DEFAULT_SCHEMA_CLASS": "app.api.schema.ServiceSchema",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Anybroker Orders",
    "DESCRIPTION": "Place orders, follow them, and cancel them. Errors are problem details (RFC 9457).",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # Requests have the fields that can be written, answers those that can be read.
    "COMPONENT_SPLIT_REQUEST": True,
    # The scripts of the page come from this service, so the page works without the internet.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "OrderStatus": "orders.models.orders.Order.Status",
        "ConfirmationState": "orders.models.orders.Order.Confirmation",
    },
}

# What the console shows beside the messages, the processes and the broker.
CONSOLE_PANELS = ["app.panels.LatestOrders"]

# --- E-mail -----------------------------------------------------------------------------------------------------------

# The settings made from EMAIL_URL: EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT and so on.
globals().update(SERVICE.email_settings)
EMAIL_CONNECTION_SECONDS = SERVICE.email_connection_seconds
EMAIL_CONNECTION_MESSAGES = SERVICE.email_connection_messages
if EMAIL_CONNECTION_SECONDS and SERVICE.email_settings["EMAIL_BACKEND"].endswith(".smtp.EmailBackend"):
    EMAIL_BACKEND = "app.mail.KeepingBackend"
DEFAULT_FROM_EMAIL = SERVICE.default_from_email
ORDERS_REPORT_EMAIL = SERVICE.orders_report_email
SITE_NAME = SERVICE.site_name
# The function that says what an address is: the same for settings and customers.
ORDERS_ADDRESS_READER = "settings.values.addresses.deliverable"

# --- Logging ----------------------------------------------------------------------------------------------------------

LOGGING = logs.configure(as_json=SERVICE.is_production, level=SERVICE.log_level)
# One line for each request, when it is answered. A request id from outside is kept: it joins the logs of services.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True
# `app/api/client_address.py` logs the address that counts. django-structlog would believe any X-Forwarded-For.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False

# --- Metrics ----------------------------------------------------------------------------------------------------------

if TELEMETRY.has_metrics:
    share_metrics()
    MIDDLEWARE = [
        MIDDLEWARE[0],
        "app.telemetry.metrics.MetricsMiddleware",
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        *MIDDLEWARE[1:],
        "django_prometheus.middleware.PrometheusAfterMiddleware",
    ]

# --- Celery -----------------------------------------------------------------------------------------------------------

globals().update({f"CELERY_{name.upper()}": value for name, value in _celery_settings().items()})
CELERY_WORKER_CONSUMER = "workers.consumer:Consumer"
CELERY_BEAT_SCHEDULER = "workers.beat:OutboxScheduler"
CELERY_RESULT_BACKEND = "outbox.results:LedgerBackend"
CELERY_TIMEZONE = TIME_ZONE
# Names of functions that say whether an error is final, for every task. `dont_autoretry_for` says it for one task.
OUTBOX_FINAL_ERRORS = ["app.mail.is_refused_for_good"]
# By default Celery opens a database connection for each task, which costs more than most tasks. `workers/consumer.py`
# closes connections that have failed or are too old, as Django does between requests.
CELERY_DB_REUSE_MAX = sys.maxsize
if SERVICE.celery_result_backend:
    CELERY_RESULT_BACKEND = SERVICE.celery_result_backend.get_secret_value()
    CELERY_TASK_IGNORE_RESULT = False
# Periodic tasks. The hours are in TIME_ZONE.
CELERY_BEAT_SCHEDULE = {
    "daily-summary": {
        "task": "orders.tasks.send_daily_summary",
        "schedule": crontab(hour=6, minute=0),
    },
    "forget-expired": {
        "task": "app.tasks.forget_expired",
        "schedule": crontab(hour=3, minute=7),
    },
    "prune-idempotency-keys": {
        "task": "orders.tasks.prune_idempotency_keys",
        "schedule": crontab(minute=37),
    },
    "prune-outbox": {
        "task": "outbox.tasks.prune_messages",
        "schedule": crontab(minute=17),
    },
}

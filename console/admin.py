"""The outbox in the back office: everything can be looked at, dead messages can be replayed or discarded."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import F, Model, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from console import overview
from console.choice import durable_tasks
from console.presentation import describe_age, describe_details, format_facts
from outbox import ledger
from outbox.models import Heartbeat, Message, PoisonMessage
from outbox.results import last_line

#: How many rows a list can be paged through, and one action takes: to count millions takes seconds.
MOST_ROWS = 10_000

#: Fewer digits begin too many ids to be looked for, and may be a word.
ID_DIGITS = 8


class CappedPaginator(Paginator):
    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_ROWS].count())


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists, and shows as `manage.py outbox` does. Who may view it is Django's view permission."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    fields = readonly_fields = ("report",)
    deletable = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.deletable and super().has_delete_permission(request, obj)

    def describe(self, row: Any) -> dict[str, Any]:
        return overview.columns_of(row)

    @admin.display(description="in full")
    def report(self, row: Any) -> SafeString:
        return format_html('<pre style="white-space: pre-wrap">{}</pre>', format_facts(self.describe(row)))


class NameFilter(admin.SimpleListFilter):
    """Offers the names that there can be: asking the table for those it has would read all of it."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class TaskFilter(NameFilter):
    title = parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in durable_tasks() if not name.startswith("celery.")]


class QueueFilter(NameFilter):
    title = parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in settings.SERVICE.relayed_queues]


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "task", "queue", "attempts", "age", "error")
    list_filter = ("state", TaskFilter, QueueFilter, "created_at")
    ordering = ("-pk",)
    search_fields = ("task",)
    search_help_text = "An id or its beginning, or part of the name of a task."
    actions = ("replay", "discard")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return overview.shorten(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        matching = overview.id_starts_with(search_term.strip())
        if matching and len(search_term.strip()) >= ID_DIGITS:
            return queryset.filter(matching), False
        return super().get_search_results(request, queryset, search_term)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("outbox.change_message")

    @admin.action(description="Replay those that are dead", permissions=["decide"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        self._decide(request, queryset.filter(state__in=overview.REPLAYABLE), "Replayed", ledger.replay)

    @admin.action(description="Discard those that are dead or wait", permissions=["decide"])
    def discard(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        self._decide(request, queryset.filter(state__in=overview.DISCARDABLE), "Discarded", ledger.discard)

    def _decide(self, request: HttpRequest, queryset: QuerySet[Message], done: str, decide: Callable[..., int]) -> None:
        with transaction.atomic():
            # Locked, so that what is logged is what was changed.
            chosen = list(queryset.select_for_update()[:MOST_ROWS])
            chunks = overview.in_chunks([message.pk for message in chosen])
            changed = sum(decide(chunk, by=f"{request.user} (admin)") for chunk in chunks)
            LogEntry.objects.log_actions(str(request.user.pk), chosen, CHANGE, f"{done}.")
        text = f"{done} {changed} of the selected messages." if changed else "None of them is in a state for that."
        self.message_user(request, text, messages.SUCCESS if changed else messages.WARNING)

    @admin.display(ordering="pk")
    def age(self, message: Any) -> str:
        return describe_age(message.age.total_seconds())

    @admin.display
    def error(self, message: Any) -> str:
        return last_line(message.error_end)

    def describe(self, row: Any) -> dict[str, Any]:
        return overview.describe_message(row, fully=True)


@admin.register(PoisonMessage)
class PoisonMessageAdmin(ReadOnlyAdmin):
    """To be deleted once someone knows where it came from."""

    list_display = ("reason", "queue", "size", "times", "first_seen_at", "last_seen_at")
    ordering = ("-last_seen_at",)
    search_fields = ("reason", "key")
    deletable = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[PoisonMessage]:
        return super().get_queryset(request).defer("body")


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("name", "seen", "doing", "started_at")
    list_filter = ("kind",)
    ordering = ("kind", "name")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Heartbeat]:
        heartbeats: QuerySet[Heartbeat] = super().get_queryset(request)
        return heartbeats.annotate(age=Now() - F("seen_at"))

    @admin.display(ordering="-seen_at")
    def seen(self, heartbeat: Any) -> str:
        return f"{describe_age(heartbeat.age.total_seconds())} ago"

    @admin.display
    def doing(self, heartbeat: Heartbeat) -> str:
        return describe_details(heartbeat.details)

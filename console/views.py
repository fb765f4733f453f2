"""The console's pages, for staff."""

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from console.live import Live
from outbox import ledger

#: Who may look, and who may replay, pause and resume. Both also have to be of the staff.
MAY_LOOK, MAY_REPLAY = "outbox.view_message", "outbox.change_message"

#: How long a page that is opened waits to know how the broker is; an update does not wait.
BROKER_SECONDS = 1.0

LIVE = Live()

View = Callable[..., HttpResponse]


def staff_only(view: View) -> View:
    """Ask others to log in, or tell them that they may not; never cached."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if may_look(request):
            return view(request, *args, **kwargs)
        if request.user.is_authenticated:
            return refuse(request, "The console is for staff who may view messages (the group operator, for example).")
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))

    return never_cache(guarded)


def may_look(request: HttpRequest) -> bool:
    user = request.user
    return user.is_active and user.is_staff and (user.has_perm(MAY_LOOK) or user.has_perm(MAY_REPLAY))


def refuse(request: HttpRequest, reason: str) -> HttpResponse:
    return render(request, "console/refused.html", {"reason": reason}, status=403)


# In a transaction, a statement of a panel that fails would fail all that follow it.
@non_atomic_requests
@require_safe
@staff_only
def console(request: HttpRequest) -> HttpResponse:
    """The whole page."""
    live = LIVE.render(can_replay=request.user.has_perm(MAY_REPLAY), broker_seconds=BROKER_SECONDS)
    return render(request, "console/console.html", {"live": live})


@non_atomic_requests
@require_safe
@never_cache
def updates(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes. 401 if whoever looks at it is no longer logged in."""
    if not may_look(request):
        return HttpResponse(status=401)
    return HttpResponse(LIVE.render(can_replay=request.user.has_perm(MAY_REPLAY)))


def decision(refusal: str) -> Callable[[Callable[[HttpRequest], None]], View]:
    """Make a view of a person's decision: POST only, for those who may; the page is read anew after it."""

    def decorate(decide: Callable[[HttpRequest], None]) -> View:
        @require_POST
        @staff_only
        @wraps(decide)
        def view(request: HttpRequest) -> HttpResponse:
            if not request.user.has_perm(MAY_REPLAY):
                return refuse(request, refusal)
            decide(request)
            LIVE.forget()
            return redirect("console:console")

        return view

    return decorate


@decision("You may look at dead letters, but not replay them.")
def replay(request: HttpRequest) -> None:
    """Give the dead message `id` a new set of attempts; who did it is recorded."""
    try:
        replayed = ledger.replay([UUID(request.POST.get("id", ""))], by=f"{request.user} (console)")
    except ValueError:
        replayed = 0
    if replayed:
        messages.success(request, "Replayed: it is due now, with a new set of attempts.")
    else:
        messages.warning(request, "Nothing was replayed: that message is no longer dead.")


@decision("You may look at queues, but not pause them.")
def pause(request: HttpRequest) -> None:
    """Let nothing of a queue begin; who did it is recorded."""
    queue = request.POST.get("queue", "")
    if queue in settings.SERVICE.relayed_queues and ledger.pause("queue", queue, by=f"{request.user} (console)"):
        messages.success(request, f"The queue {queue} is paused: what runs ends, nothing new begins.")
    else:
        messages.warning(request, "Nothing was paused: that queue is paused already, or there is none.")


@decision("You may look at queues, but not resume them.")
def resume(request: HttpRequest) -> None:
    """Let a queue or task go on that is paused."""
    chosen = [each for each in ledger.pauses() if request.POST.get(each.kind) == each.name]
    if any(ledger.resume(each.kind, each.name, by=f"{request.user} (console)") for each in chosen):
        messages.success(request, f"The {chosen[0].kind} {chosen[0].name} goes on.")
    else:
        messages.warning(request, "Nothing was resumed: it is not paused any more.")

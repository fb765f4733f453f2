"""Lets a test enqueue a task the way business code does: inside a request."""

import json

from celery import current_app
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST


@csrf_exempt
@require_POST
def enqueue(request: HttpRequest) -> JsonResponse:
    """Call `apply_async` of the `task` with `args` and `options`; answer with the id of its message."""
    wanted = json.loads(request.body)
    result = import_string(wanted["task"]).apply_async(wanted["args"], **wanted["options"])
    return JsonResponse({"id": result.id}, status=201)


@csrf_exempt
@require_POST
def send_by_name(request: HttpRequest) -> JsonResponse:
    """Call a `task` by its name, and roll the transaction back if that is wanted; answer with the id of its message."""
    wanted = json.loads(request.body)
    result = current_app.send_task(wanted["task"], wanted["args"], **wanted["options"])
    transaction.set_rollback(wanted["rolled_back"])
    return JsonResponse({"id": result.id}, status=201)

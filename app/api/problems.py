"""Answers all errors as problem details (RFC 9457, `application/problem+json`).

`describe_exception` handles the errors of REST framework. `ProblemMiddleware` handles the errors that Django would
answer with a page of HTML: an unknown address, a refused host, a bug. A browser still gets pages.

    {"type": "about:blank", "title": "Bad Request", "status": 400, "code": "invalid",
     "detail": "The request is not valid: see `errors`.",
     "errors": [{"pointer": "#/items/0/quantity", "code": "min_value", "detail": "..."}]}
"""

import json
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import (
    AuthenticationFailed,
    ErrorDetail,
    NotAuthenticated,
    PermissionDenied,
    Throttled,
    ValidationError,
)
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

CONTENT_TYPE = "application/problem+json"

#: What went wrong and what the client can do, where Django gives no reason.
DETAILS = {
    400: "The request is malformed, or names a host that is not served here.",
    403: "The request is refused.",
    404: "Nothing is at this address. Addresses of this service end with a slash: /orders/.",
    405: "This address does not know the method.",
    500: "An error of ours, which has been logged. Nothing was changed; the same request may be sent again.",
    503: "The database does not answer at the moment. Nothing was changed; send the same request again later.",
}

#: PostgreSQL has ended a statement (DATABASE_STATEMENT_TIMEOUT).
TIMED_OUT = "A statement of this request took too long and was ended. Nothing was changed; ask for less."

#: PostgreSQL's code of it.
QUERY_CANCELED = "57014"

#: When a client may come back after a 503.
RETRY_AFTER_SECONDS = 5

Path = tuple[str | int, ...]


def problem(status: int, detail: str, *, code: str | None = None, **members: Any) -> dict[str, Any]:
    """Return the members of a problem. `code` is for programs; by default it is the status in words."""
    title = HTTPStatus(status).phrase
    code = code or title.lower().replace(" ", "_").replace("-", "_")
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, **members}


def describe_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's EXCEPTION_HANDLER: answer its own errors with a problem; leave all others to Django."""
    if isinstance(error, NotAuthenticated | AuthenticationFailed | PermissionDenied):
        error = _count_refusal(error, context)
    response = exception_handler(error, context)
    if response is None:
        return None
    request = context["request"]
    found = list(_flatten(response.data))
    if isinstance(error, ValidationError):
        errors = [_located(each, path, request.method) for path, each in found]
        body = problem(response.status_code, "The request is not valid: see `errors`.", code="invalid", errors=errors)
    else:
        first = found[0][1]
        body = problem(response.status_code, str(first), code=first.code)
    response.data = body
    # There is none yet if the client accepts nothing that we render; then the first renderer is used.
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is None or renderer.format == "json":
        response.content_type = CONTENT_TYPE
    return response


def _count_refusal(error: Exception, context: dict[str, Any]) -> Exception:
    from app.api.throttling import refuse_too_many  # which REST framework loads with its views, as it does this file

    try:
        refuse_too_many(context["request"], context["view"])
    except Throttled as too_many:
        return too_many
    return error


def _flatten(detail: Any, path: Path = ()) -> Iterator[tuple[Path, ErrorDetail]]:
    """Yield every error in REST framework's nested lists and dictionaries, with the path to the field."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _flatten(value, (*path, key))
    elif isinstance(detail, list):
        for position, value in enumerate(detail):
            yield from _flatten(value, (*path, position) if isinstance(value, list | dict) else path)
    else:
        yield path, detail if isinstance(detail, ErrorDetail) else ErrorDetail(str(detail), "error")


def _located(error: ErrorDetail, path: Path, method: str) -> dict[str, str]:
    """Return an error with a JSON pointer into the body (RFC 6901, as a fragment), or the query parameter's name."""
    names = [str(each) for each in path if each != api_settings.NON_FIELD_ERRORS_KEY]
    place = {"parameter": ".".join(names)} if method in ("GET", "HEAD") else {"pointer": "/".join(["#", *names])}
    return {**place, "code": error.code or "invalid", "detail": str(error)}


class ProblemMiddleware:
    """Answers with a problem where Django would send a page of HTML to a client that is no browser."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _is_too_large(request):
            limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
            return problem_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request may have {limit} bytes at most.")
        if "HTTP_TRANSFER_ENCODING" in request.META:
            # Django would take the body for empty. Our web server hands chunked bodies over whole, with their length.
            return problem_response(HTTPStatus.LENGTH_REQUIRED, "Send Content-Length: this server reads no chunks.")
        response = self.get_response(request)
        if response.status_code < HTTPStatus.BAD_REQUEST or not _is_page(response) or _wants_pages(request):
            return response
        detail = DETAILS.get(response.status_code, response.reason_phrase)
        answer = problem_response(response.status_code, detail)
        if response.has_header("Allow"):
            answer["Allow"] = response["Allow"]
        return answer

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer 503 when the database fails: it is down, being restarted, or locked for too long."""
        if not isinstance(error, OperationalError | InterfaceError) or _wants_pages(request):
            return None
        response = problem_response(HTTPStatus.SERVICE_UNAVAILABLE, TIMED_OUT if _timed_out(error) else DETAILS[503])
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response


def _timed_out(error: Exception) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED


def problem_response(status: int, detail: str) -> HttpResponse:
    body = json.dumps(problem(status, detail)).encode()
    # With a length, the connection can be kept. CommonMiddleware does not see answers that are made outside of it.
    return HttpResponse(body, status=status, content_type=CONTENT_TYPE, headers={"Content-Length": str(len(body))})


def _is_too_large(request: HttpRequest) -> bool:
    """Whether the body exceeds Django's limit. REST framework's parsers do not check it."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    length = request.headers.get("Content-Length", "")
    return limit is not None and length.isdecimal() and int(length) > limit


def _is_page(response: HttpResponse) -> bool:
    return response.headers.get("Content-Type", "").startswith(("text/html", "text/plain"))


def _wants_pages(request: HttpRequest) -> bool:
    """Whether the client is a browser. A client that accepts anything, such as curl, is not."""
    return request.get_preferred_type(["application/json", "text/html"]) == "text/html"

"""Logins in the back office: who has which, and their end. A token itself is nowhere."""

from django.contrib import admin
from django.http import HttpRequest
from rest_framework.authtoken.models import TokenProxy
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from app.models import ApiToken, TokenFamily

# They show tokens that log in.
for model in (TokenProxy, OutstandingToken, BlacklistedToken):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(ApiToken, TokenFamily)
class LoginAdmin(admin.ModelAdmin):
    """Can be deleted; then whoever uses it has to log in again."""

    list_display = ("__str__", "user", "created_at")
    search_fields = ("user__username",)
    list_select_related = ("user",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

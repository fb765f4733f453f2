"""Every address of the service."""

from django.contrib import admin
from django.db.transaction import non_atomic_requests
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework_simplejwt.views import TokenBlacklistView, TokenObtainPairView, TokenRefreshView

from app.api.lasting_token_view import LastingTokenView
from app.home import home

urlpatterns = [
    path("", home, name="home"),
    path("console/", include("console.urls")),
    path("", include("orders.urls")),
    path("admin/", admin.site.urls),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("auth/jwt/", TokenObtainPairView.as_view(), name="jwt"),
    # A refused token ends its login, although the answer is an error.
    path("auth/jwt/refresh/", non_atomic_requests(TokenRefreshView.as_view()), name="jwt-refresh"),
    path("auth/jwt/revoke/", TokenBlacklistView.as_view(), name="jwt-revoke"),
    path("auth/token/", LastingTokenView.as_view(), name="auth-token"),
    path("auth/", include("rest_framework.urls")),
]

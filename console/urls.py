from django.urls import path

from console import views

app_name = "console"
urlpatterns = [
    path("", views.console, name="console"),
    path("updates/", views.updates, name="updates"),
    path("replay/", views.replay, name="replay"),
    path("pause/", views.pause, name="pause"),
    path("resume/", views.resume, name="resume"),
]

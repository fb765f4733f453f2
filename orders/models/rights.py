"""What of the shop staff may see."""

from django.contrib.auth.models import AnonymousUser, User


def may_view(user: User | AnonymousUser, model: str) -> bool:
    """Whether the user is of the staff and may view or change a model, as the back office asks."""
    return user.is_staff and any(user.has_perm(f"orders.{right}_{model}") for right in ("view", "change"))

"""Where an e-mail to a customer goes."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.module_loading import import_string


def deliverable(address: str) -> str:
    """Return the address as a mail server gets it. Raises ValidationError unless it is one plain address.

    The setting ORDERS_ADDRESS_READER names the function that knows what an address is.
    """
    try:
        return str(import_string(settings.ORDERS_ADDRESS_READER)(address))
    except ValueError as error:
        raise ValidationError(f"The address {error}") from error

"""Reads the errors of boto."""

from http import HTTPStatus
from typing import ClassVar, Final

from botocore import exceptions as aws

from brokers.library_errors import Kinds, LibraryErrors

#: Codes of SQS for a missing queue. The first one is of the older protocol.
_NO_QUEUE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

_DENIALS: Final = (
    "AccessDenied",
    "AuthFailure",
    "ExpiredToken",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
)


class SQSErrors(LibraryErrors):
    """Reads the errors of boto, too. Most are a ClientError, and only a code tells them apart."""

    kinds: ClassVar[Kinds] = (*LibraryErrors.kinds, aws.BotoCoreError, aws.ClientError)
    timeouts: ClassVar[Kinds] = (*LibraryErrors.timeouts, aws.ConnectTimeoutError, aws.ReadTimeoutError)
    denials: ClassVar[Kinds] = (*LibraryErrors.denials, aws.NoCredentialsError, aws.PartialCredentialsError)
    refusals: ClassVar[Kinds] = (*LibraryErrors.refusals, aws.ClientError)
    distrust: ClassVar[Kinds] = (*LibraryErrors.distrust, aws.SSLError)

    def is_lack_of_queue(self, error: BaseException) -> bool:
        return self._code(error) in _NO_QUEUE or super().is_lack_of_queue(error)

    def is_denial(self, error: BaseException) -> bool:
        answered = self.find(error, (aws.ClientError,))
        status = answered.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if answered else None
        return status == HTTPStatus.FORBIDDEN or self._code(error).startswith(_DENIALS) or super().is_denial(error)

    def reason(self, error: BaseException) -> str:
        if unverified := self.find(error, (aws.SSLError,)):
            return str(unverified.kwargs["error"]).rstrip(".")
        if (answered := self.find(error, (aws.ClientError,))) and not self.find(error, self.timeouts):
            message = str(answered.response.get("Error", {}).get("Message", ""))
            return self._code(error) if message.startswith("<") else f"{self._code(error)}: {message}"
        return super().reason(error)

    def _code(self, error: BaseException) -> str:
        """Return AWS's code of the error; '' if it is not an error of AWS."""
        answered = self.find(error, (aws.ClientError,))
        return str(answered.response.get("Error", {}).get("Code", "")) if answered else ""

    def _behind(self, error: BaseException) -> BaseException | None:
        # Botocore keeps an error and raises it later; its cause is then only in its arguments.
        kept = error.kwargs.get("error") if isinstance(error, aws.BotoCoreError) else None
        return error.__cause__ or (kept if isinstance(kept, BaseException) else None) or error.__context__

"""Reads the errors of redis-py."""

from typing import ClassVar

from redis import exceptions as redis
from redis.sentinel import MasterNotFoundError

from brokers.library_errors import Kinds, LibraryErrors


class RedisErrors(LibraryErrors):
    """Reads the errors of redis-py, too."""

    kinds: ClassVar[Kinds] = (*LibraryErrors.kinds, redis.RedisError)
    timeouts: ClassVar[Kinds] = (*LibraryErrors.timeouts, redis.TimeoutError)
    denials: ClassVar[Kinds] = (*LibraryErrors.denials, redis.AuthenticationError, redis.NoPermissionError)
    refusals: ClassVar[Kinds] = (*LibraryErrors.refusals, redis.ResponseError)

    def reason(self, error: BaseException) -> str:
        if self.find(error, (MasterNotFoundError,)):
            return "no Sentinel names a master: check REDIS_SENTINEL_MASTER and REDIS_SENTINEL_PASSWORD"
        return super().reason(error)

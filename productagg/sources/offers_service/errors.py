"""Why an exchange with the Offers service gave no result. `client` and `parsing` raise these errors.

The sync counts them by their `reason` codes, which every sync run stores: a code never changes.
"""

from datetime import timedelta


class UpstreamError(Exception):
    """The exchange told us nothing about the offers. The message says why, in one line, without a credential.

    `reason` is a code for it, to count failures by.
    """

    reason = "error"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.reason


class Unavailable(UpstreamError):
    """No complete response: refused, unknown host, timed out, cut off, or an error of the server."""

    reason = "no_answer"


class InvalidResponse(UpstreamError):
    """A response outside the contract."""

    reason = "invalid_answer"


class Unauthorized(UpstreamError):
    """401: the service does not accept the access token."""

    reason = "unauthorized"


class BadRefreshToken(UpstreamError):
    """401 at /auth: the service does not accept our account's refresh token."""

    reason = "bad_refresh_token"


class TokenStillValid(UpstreamError):
    """400 at /auth: an earlier access token is still valid, and there is never a second one."""

    reason = "token_still_valid"


class NotRegistered(UpstreamError):
    """404: the service does not know this product."""

    reason = "not_registered"


class Refused(UpstreamError):
    """422: the service does not accept this product's data."""

    reason = "refused"


class Busy(UpstreamError):
    """429 or 503: no process should send this service a request for `retry_after`, which is an hour at most."""

    reason = "busy"

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after

"""Everything that can go wrong with an exchange, and what the client is told about it.

The tree; each leaf has an HTTP status and, where RFC 9209 section 2.3 names the failure, its
Proxy-Status error type::

    ExchangeError
    +-- ClientFault                 the client sent something we can't or won't read
    |   +-- BadRequest              400
    |   +-- NotFound                404
    |   +-- MethodNotAllowed        405
    |   +-- RequestTimeout          408
    |   +-- Conflict                409
    |   +-- PreconditionFailed      412
    |   +-- BodyTooLarge            413
    |   +-- TargetTooLong           414
    |   +-- UnsupportedCoding       415
    |   +-- RangeNotSatisfiable     416
    |   +-- Misdirected             421
    |   +-- HeadTooLarge            431
    |   +-- UnknownTransferCoding   501
    |   +-- UnknownVersion          505
    +-- Refused                     understood, and not allowed
    |   +-- Unauthorized            401  http_request_denied
    |   +-- AccessDenied            403  http_request_denied
    |   +-- DestinationDenied       403  destination_ip_prohibited
    |   +-- ProxyAuthenticationRequired  407  http_request_denied
    |   +-- TooManyRequests         429  http_request_denied
    |   +-- QuotaExhausted          429  http_request_denied
    |   +-- LoopDetected            508  proxy_loop_detected
    +-- Overloaded                  503  connection_limit_reached
    +-- InsufficientStorage         507  no room on our disk for what was sent
    +-- OriginFault                 the origin, or the way to it, failed
    |   +-- NameUnknown             502  dns_error
    |   +-- NameTimeout             504  dns_timeout
    |   +-- LineDown                504  destination_unavailable
    |   +-- ParentFailed            502  destination_unavailable
    |   +-- OriginUnreachable       502  destination_ip_unroutable
    |   +-- ConnectRefused          502  connection_refused
    |   +-- ConnectTimeout          504  connection_timeout
    |   +-- CertificateRejected     502  tls_certificate_error
    |   +-- TlsFailed               502  tls_protocol_error
    |   +-- ConnectionEnded         502  connection_terminated
    |   +-- BadResponse             502  http_protocol_error
    |   +-- ResponseIncomplete      502  http_response_incomplete
    |   +-- ResponseTimeout         504  http_response_timeout
    |   +-- ReadTimeout             504  connection_read_timeout
    +-- ClientGone                  499  the client left; nobody is told, the log is
    |   +-- WriteTimeout            499  the client took nothing for too long
    +-- InternalError               500  proxy_internal_error; a mistake of ours

A *reason* is written by us, for an admin, and never holds the text of another exception.
"""

from __future__ import annotations

from typing import ClassVar

_Pairs = tuple[tuple[bytes, bytes], ...]


class ExchangeError(Exception):
    """Something that ends an exchange, with the words the client and the log may see.

    *reason* is one sentence without the full stop, *fields* are further ones of the response.
    """

    status: ClassVar[int] = 500
    token: ClassVar[str] = "proxy_internal_error"

    def __init__(self, reason: str, fields: _Pairs = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = fields


class ClientFault(ExchangeError):
    """The request can't be carried out as it was sent."""

    status = 400
    token = "http_request_error"


class BadRequest(ClientFault):
    """Not HTTP, or HTTP that two readers could understand differently (RFC 9112 section 11)."""


class NotFound(ClientFault):
    """The site has no such resource."""

    status = 404


class MethodNotAllowed(ClientFault):
    """The resource exists, and this method does nothing to it (RFC 9110 section 15.5.6)."""

    status = 405


class RequestTimeout(ClientFault):
    """The head or the body of the request took too long to arrive."""

    status = 408


class Conflict(ClientFault):
    """What the site holds now doesn't allow it (RFC 9110 section 15.5.10)."""

    status = 409


class PreconditionFailed(ClientFault):
    """The file isn't the one that the request is about (RFC 9110 section 15.5.13)."""

    status = 412


class BodyTooLarge(ClientFault):
    """The request body, or what it asks us to fetch, is longer than the ini allows."""

    status = 413


class TargetTooLong(ClientFault):
    """The request line alone is past the limit of the head."""

    status = 414


class UnsupportedCoding(ClientFault):
    """The body has a content coding that can't be taken off (RFC 9110 section 15.5.16)."""

    status = 415


class RangeNotSatisfiable(ClientFault):
    """No byte of the asked range exists (RFC 9110 section 15.5.17)."""

    status = 416


class Misdirected(ClientFault):
    """Another port of ours does that (RFC 9110 section 15.5.20)."""

    status = 421


class HeadTooLarge(ClientFault):
    """The head has too many bytes or too many fields (RFC 6585 section 5)."""

    status = 431


class UnknownTransferCoding(ClientFault):
    """A transfer coding other than one final `chunked` (RFC 9112 section 6.1)."""

    status = 501


class UnknownVersion(ClientFault):
    """A major version of HTTP that is not 1."""

    status = 505


class Refused(ExchangeError):
    """The request is clear, and the rules say no.

    *rule* is what says so, as the ini calls it; *message* is what the admin has it say to people.
    """

    status = 403
    token = "http_request_denied"

    def __init__(self, reason: str, fields: _Pairs = (), rule: str = "", message: str = "") -> None:
        super().__init__(reason, fields)
        self.rule, self.message = rule, message


class Unauthorized(Refused):
    """The site wants to know who asks; *fields* hold the challenge (RFC 9110 section 15.5.2)."""

    status = 401


class AccessDenied(Refused):
    """This client may not use this service, or not for this."""


class DestinationDenied(Refused):
    """The address that would be dialled is not one that may be reached."""

    token = "destination_ip_prohibited"


class ProxyAuthenticationRequired(Refused):
    """The proxy wants to know who asks; *fields* hold the challenge (RFC 9110 section 15.5.8)."""

    status = 407


class TooManyRequests(Refused):
    """Too much was asked for too fast; *fields* hold Retry-After (RFC 6585 section 4)."""

    status = 429


class QuotaExhausted(Refused):
    """The client has used what a rule gives it for this period; *fields* hold Retry-After."""

    status = 429


class LoopDetected(Refused):
    """The request came back to us, or would (RFC 5842 section 7.2)."""

    status = 508
    token = "proxy_loop_detected"


class Overloaded(ExchangeError):
    """A limit of ours is reached; trying again later may help."""

    status = 503
    token = "connection_limit_reached"


class InsufficientStorage(ExchangeError):
    """The disk has no room for what was sent (RFC 4918 section 11.5)."""

    status = 507


class OriginFault(ExchangeError):
    """The origin, or the way to it, failed."""

    status = 502
    token = "connection_terminated"


class NameUnknown(OriginFault):
    """The name has no address."""

    token = "dns_error"


class NameTimeout(OriginFault):
    """No name server answered in time."""

    status = 504
    token = "dns_timeout"


class LineDown(OriginFault):
    """Nothing beyond the LAN can be reached now, or is to be ([cache] offline)."""

    status = 504
    token = "destination_unavailable"


class ParentFailed(OriginFault):
    """No parent proxy can be asked, or the one that was wants other credentials than it got."""

    token = "destination_unavailable"


class OriginUnreachable(OriginFault):
    """No route to any address of the origin."""

    token = "destination_ip_unroutable"


class ConnectRefused(OriginFault):
    """The origin's host answered, and nothing listens there."""

    token = "connection_refused"


class ConnectTimeout(OriginFault):
    """No address of the origin answered in time."""

    status = 504
    token = "connection_timeout"


class CertificateRejected(OriginFault):
    """The origin's certificate did not stand the check."""

    token = "tls_certificate_error"


class TlsFailed(OriginFault):
    """The TLS handshake failed for another reason than the certificate."""

    token = "tls_protocol_error"


class ConnectionEnded(OriginFault):
    """The origin closed the connection before it answered."""


class BadResponse(OriginFault):
    """What the origin sent is not an HTTP response we can pass on."""

    token = "http_protocol_error"


class ResponseIncomplete(OriginFault):
    """The response ended before its framing said so."""

    token = "http_response_incomplete"


class ResponseTimeout(OriginFault):
    """The response head did not come in time."""

    status = 504
    token = "http_response_timeout"


class ReadTimeout(OriginFault):
    """The origin fell silent inside a body."""

    status = 504
    token = "connection_read_timeout"


class NotStored(ExchangeError):
    """The client wants only what is in the cache, and it isn't there (RFC 9111 section 5.2.1.7)."""

    status = 504
    token = "proxy_internal_response"


class ClientGone(ExchangeError):
    """The client left before its answer was complete; only the log hears of it."""

    status = 499
    token = "connection_terminated"


class WriteTimeout(ClientGone):
    """The client took none of the waiting bytes for [limits] write_timeout."""

    token = "connection_write_timeout"


class InternalError(ExchangeError):
    """A mistake of ours; the event log has the details."""

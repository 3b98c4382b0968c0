"""Receives requests of OpenSubsonic and sends the answers; no request ends in a traceback."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from http import HTTPStatus
from urllib.parse import parse_qsl

from musicnn_zoo.errors import MusicnnZooError
from musicnn_zoo.library.subsonic import (
    FORMS,
    LONGEST_TEXT,
    Code,
    FailedError,
    OpenSubsonic,
    Request,
    write_answer,
)
from musicnn_zoo.machine.web_server import LOOPBACK, WebHandler, WebServer
from musicnn_zoo.text import first_line, printable

_log = logging.getLogger(__name__)

DEFAULT_PORT = 4848
_PLACE = re.compile(r"/rest/([A-Za-z0-9]{1,64})(?:\.view)?")
_LONGEST_QUERY = 16 * 1024
_LONGEST_BODY = 64 * 1024
_MOST_PARAMETERS = 64
_FORM_KIND = "application/x-www-form-urlencoded"
_WRONG_S = 0.3
"""So long does a wrong password wait for its answer."""


class SubsonicServer:
    """Serves the API on an address, by default of this machine alone; port 0 takes a free one.

    ``url`` is where clients find it. An :class:`~musicnn_zoo.errors.ArgumentError` says that the
    address cannot be used.
    """

    def __init__(
        self, api: OpenSubsonic, *, address: str = LOOPBACK, port: int = DEFAULT_PORT
    ) -> None:
        always = dict(WebHandler.always)
        if not api.access.is_open:  # what needs a password may be read by pages of other sites
            always["Access-Control-Allow-Origin"] = "*"
            always["Cross-Origin-Resource-Policy"] = "cross-origin"
        handler = type("Handler", (_Handler,), {"api": api, "always": always})
        self._server = WebServer(address, port, handler)
        shown = f"[{address}]" if ":" in address else address
        self.url = f"http://{shown}:{self._server.server_port}/"

    def __enter__(self) -> SubsonicServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def serve(self) -> None:
        """Answer requests until :meth:`stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End :meth:`serve`, from another thread."""
        self._server.shutdown()


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class _Handler(WebHandler):
    api: OpenSubsonic
    host_hint = "without a password, ask for localhost or for an address"
    _request = Request("", {})

    def is_asked_as(self, host: str) -> bool:
        """Whether a password is needed, or the name cannot be that of another site."""
        name = re.sub(r":\d*$", "", host)
        if not self.api.access.is_open or name == "localhost":
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def do_POST(self) -> None:  # noqa: N802
        """Answer a form."""
        self.respond_to_known_host()

    def respond(self) -> None:
        """Answer a method of the API."""
        self._request = Request("", {})
        place, _, query = self.path.partition("?")
        found = _PLACE.fullmatch(place)
        if len(query) > _LONGEST_QUERY:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "the query is too long")
            return
        try:
            forms = [query]
            if self.command == "POST":
                body = self._body()
                if body is None:
                    return
                forms.append(body)
            pairs = _pairs(forms)
            # The form of the answer is known before it is said what is wrong.
            self._request = Request(found[1] if found else "", dict(pairs))
            if found is None:
                self.refuse(HTTPStatus.NOT_FOUND, "ask for /rest/ and a method")
                return
            self._check_form()
            _check(pairs)
            answer = self.api.answer(self._request)
        except FailedError as error:
            self._fail(error)
        except (ConnectionError, TimeoutError):
            raise
        except MusicnnZooError as error:
            self._fail_unexpected(error)
        except Exception as error:
            _log.debug("%s failed", self._request.method, exc_info=True)
            self._fail_unexpected(error)
        else:
            self._send(answer)

    def _body(self) -> str | None:
        """Return the form in the body, or refuse it and return None."""
        ends, self.close_connection = self.close_connection, True  # until the body is read
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get_content_type()
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,9}", length):
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "the body needs a length")
        elif int(length) > _LONGEST_BODY:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        elif int(length) and kind != _FORM_KIND:
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body must be {_FORM_KIND}")
        else:
            content = self.rfile.read(int(length))
            if len(content) < int(length):
                raise ConnectionError("the body ends early")
            self.close_connection = ends
            return content.decode("latin-1")
        return None

    def _check_form(self) -> None:
        asked, form = self._request.parameters.get("f", "xml"), self._request.form
        if form == "jsonp" and self.api.access.is_open:
            raise FailedError(Code.OTHER, "jsonp is answered only where a password is needed")
        if asked == "jsonp" != form:
            raise FailedError(Code.OTHER, "callback must be the name of a function")
        if asked != form:
            raise FailedError(Code.OTHER, f"f must be one of {', '.join(FORMS)}")

    def _fail(self, error: FailedError) -> None:
        if error.code in (Code.WRONG_PASSWORD, Code.WRONG_KEY):
            time.sleep(_WRONG_S)
        self._send(error)

    def _fail_unexpected(self, error: Exception) -> None:
        reason = printable(f"{type(error).__name__}: {first_line(error)}")
        _log.warning("%s failed (%s)", self._request.method, reason)
        self._send(FailedError(Code.OTHER, "the library could not answer; its server says why"))

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """Say why as the API does."""
        self._send(FailedError(Code.OTHER, why), status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request of HTTP, or of a kind that is not known."""
        del explain
        self.close_connection = True
        self._request = Request("", {})
        self.log_error("%s", message or "")
        status = HTTPStatus(code)
        self.refuse(status, status.phrase)

    def _send(
        self, answer: dict[str, object] | FailedError, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        kind, text = write_answer(self._request, answer)
        more = {"Connection": "close"} if self.close_connection else {}
        self.send_text(status, kind, text, **more)


def _pairs(forms: list[str]) -> list[tuple[str, str]]:
    """Return names and values of a query and a form; a FailedError if they cannot be read."""
    try:
        return [
            pair
            for form in forms
            for pair in parse_qsl(
                form, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
            )
        ]
    except ValueError as error:
        raise FailedError(Code.OTHER, "parameters are too many, or no UTF-8") from error


def _check(pairs: list[tuple[str, str]]) -> None:
    """Raise a FailedError if a parameter is too long, or there with two values."""
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if len(value) > LONGEST_TEXT:
            raise FailedError(Code.OTHER, "a parameter is too long")
        if parameters.setdefault(name, value) != value:
            raise FailedError(Code.OTHER, "a parameter is there twice")

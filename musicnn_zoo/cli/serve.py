"""The command serve: answer players and servers that speak OpenSubsonic."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import click

from musicnn_zoo.cli.failures import warn
from musicnn_zoo.cli.parts import library_option, option, path_option
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.library.subsonic import LONGEST_TEXT, Access, OpenSubsonic
from musicnn_zoo.library.subsonic_server import DEFAULT_PORT, SubsonicServer, is_loopback
from musicnn_zoo.machine.web_server import LOOPBACK

_USER, _PASSWORD, _KEY = (f"MUSICNN_ZOO_{each}" for each in ("USER", "PASSWORD", "API_KEY"))


@click.command()
@library_option
@option("--address", default=LOOPBACK, metavar="ADDRESS",
        help="Listen on this address of this machine; 0.0.0.0 is all of them.")  # fmt: skip
@option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, metavar="N",
        help="Port; 0 takes one that is free.")  # fmt: skip
@option(
    "-u", "--user", metavar="NAME",
    help=f"Name of the user whom the password belongs to.  [default: {_USER}, or music]",
)  # fmt: skip
@path_option("--password-file",
             help=f"Answer only who knows the password, which is the first line of this file.  "
             f"[default: {_PASSWORD}, or no password]")  # fmt: skip
@path_option("--api-key-file",
             help=f"Answer who knows the API key, which is the first line of this file.  "
             f"[default: {_KEY}, or no key]")  # fmt: skip
@option(
    "-m", "--model", metavar="MODEL",
    help="Answer by what this model heard, if several were indexed.  [default: the last]",
)  # fmt: skip
@option(
    "--layer", metavar="LAYER", help="Compare vectors of this layer.  [default: the first indexed]"
)
def serve(
    place: Path | None,
    address: str,
    port: int,
    user: str | None,
    password_file: Path | None,
    api_key_file: Path | None,
    model: str | None,
    layer: str | None,
) -> None:
    """Answer players and servers that ask for similar songs by OpenSubsonic.

    The library is that of 'musicnn-zoo index', which may go on filling it meanwhile. Songs that
    sound alike (getSonicSimilarTracks, getSimilarSongs2) and ways between two songs
    (findSonicPath) are found in it; search3 gives the ids of songs. Nothing is played.

    \b
        musicnn-zoo index ~/Music
        musicnn-zoo serve
        a=http://127.0.0.1:4848/rest  b="v=1.16.1&c=curl&f=json"
        curl "$a/search3?query=techno&$b"
        curl "$a/getSonicSimilarTracks?id=ID&count=5&$b"

    Only this machine reaches it, unless --address says otherwise. A password is never given on
    the command line, which others can see: put it into a file, or into MUSICNN_ZOO_PASSWORD. What
    is sent is not encrypted; across a network, put a web server with TLS before it.
    """  # noqa: D301 (click keeps the lines of a paragraph after backspace)
    access = Access(
        user or os.environ.get(_USER) or Access.user,
        _secret(password_file, _PASSWORD),
        _secret(api_key_file, _KEY),
    )
    api = OpenSubsonic(place, access=access, model=model, layer=layer)
    about = api.describe()
    with SubsonicServer(api, address=address, port=port) as server:
        if access.is_open and not is_loopback(address):
            warn(
                f"no password is set: whoever reaches {address} can read the titles and paths of "
                "your music; set one by --password-file"
            )
        # The first process of a container ends by no signal that it does not handle itself.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            click.echo(f"{server.url}  {about}; Ctrl+C ends it")
            sys.stdout.flush()
            server.serve()
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)


def _secret(file: Path | None, variable: str) -> str | None:
    """Return what only the user knows: from a file, or from the environment."""
    if file is None:
        held, origin = os.environ.get(variable), variable
        if held is None:
            return None
    else:
        origin = str(file)
        try:
            with file.open(encoding="utf-8") as opened:
                held = opened.readline(LONGEST_TEXT + 1).rstrip("\r\n")
                mode = os.fstat(opened.fileno()).st_mode
        except (OSError, UnicodeError) as error:
            raise ArgumentError(f"{origin}: cannot be read ({error})") from error
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            warn(f"{origin}: others can read it; chmod 600 keeps it to you")
    if not 0 < len(held) <= LONGEST_TEXT:
        raise ArgumentError(
            f"{origin}: must hold 1 to {LONGEST_TEXT} characters; received {len(held)}"
        )
    return held

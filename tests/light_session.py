"""Runs commands in one process in which some modules cannot be imported.

    python light_session.py < JSON

Reads {"blocked": [module, …], "commands": [[word, …], …]} and prints as JSON, for each command,
its exit code and what it printed; then what comes of a page server and of the public names.
"""

import http.client
import json
import sys
import threading
from typing import Any


class Without:
    """A finder of modules that does not find some."""

    def __init__(self, finder: Any, blocked: set[str]) -> None:
        self._finder = finder
        self._blocked = blocked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self._blocked:
            return None
        return self._finder.find_spec(name, path, target)


ORDER = json.load(sys.stdin)
sys.meta_path[:] = [Without(finder, set(ORDER["blocked"])) for finder in sys.meta_path]

from click.testing import CliRunner  # noqa: E402

import musicnn_zoo  # noqa: E402
from musicnn_zoo.cli import cli  # noqa: E402
from musicnn_zoo.listening.server import PageServer  # noqa: E402


def names() -> dict[str, str]:
    """What a public name raises, if it does."""
    raised = {}
    for name in musicnn_zoo.__all__:
        try:
            getattr(musicnn_zoo, name)
        except Exception as error:
            raised[name] = f"{type(error).__name__}: {error}"
    return raised


def served(path: str) -> int:
    """Status of a page."""
    with PageServer([path], musicnn_zoo.listening_page) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            connection = http.client.HTTPConnection(server.url.strip("/").rpartition("/")[2])
            connection.request("GET", "/page/0")
            return connection.getresponse().status
        finally:
            server.stop()
            thread.join(10)


def loading() -> list[str]:
    """What comes of a Keras model: the error's bases and its message."""
    try:
        musicnn_zoo.load_model("MTT_musicnn")
    except Exception as error:
        return [*(base.__name__ for base in type(error).__mro__), str(error)]
    return []


ran = []
for words in ORDER["commands"]:
    result = CliRunner().invoke(cli, words)
    ran.append((result.exit_code, result.output))
found = {
    "commands": ran,
    "names": names(),
    "page": served(ORDER["page"]),
    "endpoints": list(musicnn_zoo.features(ORDER["page"])),
    "loading": loading(),
}
json.dump(found, sys.stdout)

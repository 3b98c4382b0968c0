"""The site is built without a warning, its links lead somewhere, and nothing public is missing."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
from conftest import ROOT

import musicnn_zoo
from musicnn_zoo.cli import cli

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page links to, what it shows, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="Sphinx is not installed: the extra 'docs'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "docs", str(folder)],
        cwd=ROOT, check=False, text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


def test_every_page_of_the_folder_is_a_page_of_the_site(site: Path) -> None:
    docs = ROOT / "docs"
    sources = [path for ending in ("md", "rst") for path in docs.rglob(f"*.{ending}")]
    assert len(sources) > 40
    for source in sources:
        assert (site / source.relative_to(docs)).with_suffix(".html").exists(), source


def test_links_within_the_site_lead_somewhere(pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (
                anchor and target in pages and anchor not in pages[target].anchors
            ):
                dead.append(f"{path.name}: {link}")
    assert not dead


def test_the_site_loads_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path in pages:
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|link)[^>]*?(?:src|href)="(?:https?:)?//', text)
        assert not loaded, path


def test_every_public_name_has_an_entry(pages: dict[Path, Page]) -> None:
    anchors = set().union(*(page.anchors for page in pages.values()))
    missing = [
        name
        for name in musicnn_zoo.__all__
        if name != "__version__" and f"musicnn_zoo.{name}" not in anchors
    ]
    assert not missing


def test_every_command_has_an_entry(site: Path) -> None:
    page = (site / "reference" / "command_line.html").read_text(encoding="utf-8")
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert f'id="musicnn-zoo-{name}"' in page, name
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--"):
                    assert option in page, (name, option)

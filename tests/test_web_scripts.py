"""Modules of a script that are put into one."""

import json
import re
import shutil
import subprocess
from importlib import resources

import pytest

from musicnn_zoo.web import scripts
from musicnn_zoo.web.scripts import joined_modules


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Write modules by their places; they are the package then."""
    monkeypatch.setattr(scripts.resources, "files", lambda _: tmp_path)

    def write(**modules):
        for place, text in modules.items():
            path = tmp_path / f"{place.replace('__', '/')}.js"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_names_do_not_meet_and_each_module_runs_once(package) -> None:
    package(
        a__entry='import { value, more as most } from "../b/one.js";\n'
        'import { other } from "../b/two.js";\nconst own = 1;\n'
        "console.log(JSON.stringify([own, value(), most, new other().get()]));\n",
        b__one='import { other } from "./two.js";\nconst own = 2;\n'
        "export function value() {\n  return own + new other().get();\n}\nexport const more = 7;\n",
        b__two="let own = 10;\nown += 1;\nexport class other {\n  get() { return own; }\n}\n",
    )
    script = joined_modules("a/entry.js")
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == [1, 13, 7, 11]
    assert script.count("own += 1") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import thing from "./b.js";', "'import thing from \"./b.js\";' cannot be joined"),
        ('import { a } from "https://example.org/a.js";', "cannot be joined"),
        ("export default 3;", "'export default 3;' cannot be joined"),
        ("export { a };", "cannot be joined"),
        ('import { a } from "./entry.js";', "a circle: entry.js imports entry.js"),
    ],
)
def test_what_cannot_be_joined_is_named(package, text: str, said: str) -> None:
    package(entry=text, b="export const thing = 1;")
    with pytest.raises(ValueError, match=re.escape(said)):
        joined_modules("entry.js")


def test_the_script_of_the_listening_page_can_stand_in_html() -> None:
    script = joined_modules("listening/page.js")
    assert not re.search(r"</script|<!--|^\s*(import|export)\b", script, flags=re.MULTILINE)
    player = resources.files("musicnn_zoo").joinpath("web/player/player.js")
    assert "seekTo(time) {" in script
    assert "seekTo(time) {" in player.read_text(encoding="utf-8")

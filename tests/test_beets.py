"""The plugin of beets, in a library of beets, by its command line."""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from conftest import ROOT
from helpers_audio import HARPSICHORD, STRINGS, TECHNO

import musicnn_zoo

mutagen = pytest.importorskip("mutagen")
pytest.importorskip("beets")
pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

CLIPS = {"techno": TECHNO, "strings": STRINGS, "harpsichord": HARPSICHORD}
CONFIG = """\
directory: {root}/music
library: {root}/beets.db
plugins: musicnn
paths: {{default: $title, singleton: $title, comp: $title}}
format_item: $title
import: {{copy: yes, write: no, autotag: no, quiet: yes}}
musicnn: {{library: {root}/zoo.sqlite, {options}}}
"""


COMMANDS = """\
import json, os, sys
import beets.ui, beets.ui.commands, beets.library, numpy
import musicnn_zoo.library.collection
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(asked["root"])
        os.environ["BEETSDIR"] = asked["root"]
        beets.config.clear()
        beets.config.read()
        for number, name in enumerate((os.devnull, "out", "err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        beets.ui.main(asked["arguments"])
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs commands of beets, each in a process of its own that need not import all of it."""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def commands():
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", COMMANDS], text=True, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        yield process
        process.stdin.close()


class Beet:
    """A library of beets with titled clips, in a folder of its own."""

    def __init__(self, commands, root, *names, options=""):
        self.commands = commands
        self.root = root
        self.music = root / "music"
        self.zoo = musicnn_zoo.Library(root / "zoo.sqlite")
        (root / "config.yaml").write_text(CONFIG.format(root=root, options=options), "utf-8")
        source = root / "source"
        source.mkdir()
        for name in names:
            path = source / f"{name}.ogg"
            shutil.copy(CLIPS[name], path)
            file = mutagen.File(path)
            file["title"] = name
            file.save()
        self.sources = source
        if names:
            self("import", "-q", source)

    def run(self, *arguments):
        asked = {"root": str(self.root), "arguments": list(map(str, arguments))}
        self.commands.stdin.write(json.dumps(asked) + "\n")
        self.commands.stdin.flush()
        code = int(self.commands.stdout.readline())
        out, err = ((self.root / name).read_text("utf-8") for name in ("out", "err"))
        return Ran(code, out, err)

    def __call__(self, *arguments):
        """Run a command that must not fail; return what it prints, and what it tells."""
        ran = self.run(*arguments)
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err, ran.err
        return ran.out.splitlines(), ran.err

    def listed(self, *query, form="$title"):
        return self("ls", "-f", form, *query)[0]


@pytest.fixture(scope="module")
def beet(commands, tmp_path_factory):
    """Three clips, tagged."""
    beet = Beet(commands, tmp_path_factory.mktemp("beets"), *CLIPS)
    pretended, _ = beet("musicnn", "--pretend")
    assert sorted(pretended) == [f"{name}: would be analysed" for name in sorted(CLIPS)]
    assert not beet.zoo.path.exists()
    _, told = beet("musicnn")
    assert "3 done, 0 unchanged" in told
    assert "techno: techno 0.72, electronic 0.61, synth 0.45" in told
    return beet


def test_scores_become_attributes_that_are_asked_as_numbers(beet):
    tags = musicnn_zoo.tag(TECHNO, threshold=0.1)
    form = "$musicnn_techno|$musicnn_synth|$musicnn_tags|$musicnn_model"
    (line,) = beet.listed("title:techno", form=form)
    best = "; ".join(tags.names[:5])
    assert line == f"{tags['techno']:.2f}|{tags['synth']:.2f}|{best}|MTT_musicnn"
    assert beet.listed("musicnn_techno:0.5..") == ["techno"]
    assert beet.listed("musicnn_classical:0.1..0.4", "musicnn_tags:strings") == ["harpsichord"]
    assert beet.listed("musicnn_strings-", "musicnn_strings:0.1..") == ["strings", "harpsichord"]


def test_files_are_left_as_they_are(beet):
    for name in CLIPS:
        there, source = beet.music / f"{name}.ogg", beet.sources / f"{name}.ogg"
        assert there.read_bytes() == source.read_bytes()


def test_similar_tracks_are_those_of_the_library_file_that_beets_has(beet):
    beet.zoo.index(HARPSICHORD)
    expected = beet.zoo.similar(
        beet.music / "techno.ogg", among=[beet.music / f"{name}.ogg" for name in CLIPS]
    )
    lines, _ = beet("musicnn-similar", "-f", "$title $musicnn_similarity", "techno")
    assert lines == [f"{track.title} {track.values['similarity']:.3f}" for track in expected]
    assert len(lines) == 2
    lines, _ = beet("musicnn-similar", "-k", "1", "-p", "musicnn_techno:0.5..")
    assert lines == [expected[0].path]


def test_what_has_attributes_is_left_alone_unless_it_is_forced(commands, tmp_path):
    beet = Beet(commands, tmp_path, "techno")
    beet("musicnn", "-t", "0.4", "-k", "2")
    form = "$musicnn_techno|$musicnn_tags|$musicnn_synth|$musicnn_fast"
    assert beet.listed(form=form) == ["0.72|techno; electronic|0.45|$musicnn_fast"]
    beet("modify", "-y", "musicnn_techno=0.9")
    beet("musicnn")
    assert beet.listed(form=form) == ["0.90|techno; electronic|0.45|$musicnn_fast"]
    _, told = beet("musicnn", "--force", "-k", "1", "-t", "0.5")
    assert "0 done, 1 unchanged" in told  # nothing is decoded twice
    assert beet.listed(form=form) == ["0.72|techno|$musicnn_synth|$musicnn_fast"]
    _, told = beet("musicnn", "-m", "MSD_musicnn")
    assert "1 done" in told
    assert beet.listed(form="$musicnn_model|$musicnn_techno|$musicnn_electronic") == [
        "MSD_musicnn|$musicnn_techno|0.34"
    ]


def test_imports_are_tagged_if_asked_and_moved_files_are_known(commands, tmp_path):
    beet = Beet(commands, tmp_path, "techno", "strings", options="auto: yes, top_k: 1")
    assert sorted(beet.listed(form="$musicnn_tags")) == ["classical", "techno"]
    assert sorted(track.path for track in beet.zoo.find("techno >= 0")) == [
        str(beet.music / f"{name}.ogg") for name in ("strings", "techno")
    ]
    beet("modify", "-y", "techno", "title=renamed")
    assert (beet.music / "renamed.ogg").exists()
    _, told = beet("musicnn")
    assert "0 done, 1 unchanged, 1 moved" in told
    assert beet("musicnn-similar", "strings")[0] == ["renamed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("auto: maybe", "musicnn.auto: must be a bool"),
        ("auto: yes, top_k: many", "musicnn.top_k: must be a number"),
        ("auto: yes, threshold: 3", "threshold must be between 0 and 1; received 3\n"),
        ("auto: yes, model: MTT_music", "unknown model 'MTT_music'"),
    ],
)
def test_wrong_settings_are_told_before_an_import_begins(commands, tmp_path, options, said):
    beet = Beet(commands, tmp_path, options=options)
    shutil.copy(TECHNO, beet.sources)
    ran = beet.run("import", beet.sources)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert said in ran.err
    assert not beet.music.exists()


def test_files_that_cannot_be_used_are_told_and_the_others_done(commands, tmp_path):
    beet = Beet(commands, tmp_path, *CLIPS)
    (beet.music / "strings.ogg").write_bytes(b"no audio")
    (beet.music / "harpsichord.ogg").unlink()
    _, told = beet("musicnn")
    assert re.search(r"strings\.ogg: .*not audio", told)
    assert re.search(r"harpsichord\.ogg: there is no such file", told)
    assert beet.listed("musicnn_model::.") == ["techno"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["musicnn", "-m", "MTT_music"], "unknown model 'MTT_music'; did you mean MTT_musicnn"),
        (["musicnn", "-k", "0"], "top_k must be at least 1"),
        (["musicnn", "-t", "50"], "threshold must be between 0 and 1; received 50.0\n"),
        (["musicnn-similar"], "musicnn-similar QUERY"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(beet, arguments, said):
    ran = beet.run(*arguments)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert said in ran.err


def test_seeds_must_be_analysed_before(commands, tmp_path):
    beet = Beet(commands, tmp_path, "techno", "strings")
    ran = beet.run("musicnn-similar", "techno")
    assert (ran.code, "run beet musicnn techno" in ran.err) == (1, True)
    beet("musicnn", "techno")
    lines, told = beet("musicnn-similar", "title::.")
    assert lines == []
    assert "1 of 2 tracks are analysed" in told


def test_names_of_attributes_are_words():
    from beetsplug.musicnn import attribute

    assert attribute("no vocals") == "musicnn_no_vocals"
    assert attribute("Hip-Hop") == "musicnn_hip_hop"
    assert attribute("mood/theme---happy") == "musicnn_mood_theme_happy"
    assert attribute("tags") == "musicnn_tags_"

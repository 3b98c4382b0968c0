import re
import runpy
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import ROOT

from musicnn_zoo import ArgumentError, build_model, list_models
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.networks.backends import _pools_for
from musicnn_zoo.networks.config import (
    BLOCKS,
    BlockSpec,
    LogMelInput,
    ModelConfig,
    WaveformInput,
    block,
    block_names,
)
from musicnn_zoo.zoo.catalogue import PRESETS

SCRIPT = ROOT / "docs" / "architecture_page.py"
script = runpy.run_path(str(SCRIPT))
page: str = script["page"]()

BUILD = re.compile(r'model = musicnn_zoo\.build_model\("(\w+)"\)')
SMALLEST = sorted(ARCHITECTURES, key=lambda name: ARCHITECTURES[name].parameters)[:3]


def misfit(frontend: str, backend: str, midend: str | None = None) -> str | None:
    """Return why two blocks do not fit together, or None if they do."""
    signal = WaveformInput() if BLOCKS[frontend].takes == "waveform" else LogMelInput()
    try:
        ModelConfig(signal, block(frontend), block(backend), midend and block(midend))
    except ArgumentError as error:
        return str(error)
    return None


def answers(spec: BlockSpec) -> tuple[str, str, str]:
    signal = "waveform" if spec.takes == "waveform" else "log-mel spectrogram"
    return signal, "yes" if spec.domain_knowledge else "no", spec.shapes


def section(title: str, level: int = 2) -> str:
    (found,) = re.findall(
        rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#{{2,{level}}} |\Z)", page, re.M | re.S
    )
    return found


def fences(language: str, text: str = page) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def table(text: str) -> list[list[str]]:
    """The rows of the only table, links and backticks taken off."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("`", "")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in (rows[0], *rows[2:])]


def test_the_page_is_what_the_script_makes() -> None:
    committed = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    assert committed == page, "run python docs/architecture_page.py"


def test_the_script_needs_no_tensorflow() -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(SCRIPT)!r})['page']();"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# === Trees, tables and sections ===


def leaves_of_the_tree() -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
    """Answers on the way, front-end and architectures of every last box."""
    tree = fences("mermaid", section("Front-ends"))[0]
    answered = {
        below: (above, label)
        for above, label, below in re.findall(r'(\w+) -->\|"(.*?)"\| (\w+)', tree)
    }
    for above, frontend, names in re.findall(r'(\w+) --> \w+\["(\w+)<br/>(.*?)"\]', tree):
        path: tuple[str, ...] = ()
        while above in answered:
            above, label = answered[above]
            path = (*re.fullmatch(r"(.*?)(?: \((\w+)\))?", label).groups(default=""), *path)
        yield tuple(filter(None, path)), frontend, names.split(", ")


def with_frontend(name: str) -> list[str]:
    return [a.name for a in ARCHITECTURES.values() if a.config.frontend.kind == name]


def test_the_tree_leads_to_every_frontend_and_architecture() -> None:
    leaves = {frontend: (path, names) for path, frontend, names in leaves_of_the_tree()}
    assert leaves == {
        name: (answers(BLOCKS[name]), with_frontend(name)) for name in block_names("frontend")
    }


def test_the_table_says_what_the_tree_says() -> None:
    rows = table(section("Front-ends"))[1:]
    assert sorted(row[4] for row in rows) == sorted(block_names("frontend"))
    for *path, kind, frontend, architectures, paper in rows:
        assert tuple(path) == answers(BLOCKS[frontend])
        assert kind == script["LEAVES"][tuple(path)]
        assert architectures.split(", ") == with_frontend(frontend)
        assert paper == BLOCKS[frontend].paper


def test_every_midend_is_listed() -> None:
    assert re.findall(r"^- \[`(\w+)`\]", section("Mid-ends"), re.M) == block_names("midend")


def test_every_backend_is_in_its_group() -> None:
    rows = table(section("Back-ends"))[1:]
    assert sorted(row[1] for row in rows) == sorted(block_names("backend"))
    for length, name, does, scores, paper in rows:
        spec = BLOCKS[name]
        assert (length == "fixed") == spec.fixed_length
        assert (scores == "yes") == bool(spec.framewise)
        assert does
        assert paper == spec.paper


def test_every_architecture_has_one_section_under_its_leaf() -> None:
    headings = re.findall(r"^(###+) (.*)$", section("The architectures"), re.M)
    assert sorted(t for level, t in headings if level == "####") == sorted(ARCHITECTURES)
    for leaf, kind in script["LEAVES"].items():
        text = section(kind, 3)
        expected = [name for name in block_names("frontend") if answers(BLOCKS[name]) == leaf]
        assert re.findall(r"^- \[`(\w+)`\]", text, re.M) == expected
        assert {*re.findall(r"^#### (\w+)$", text, re.M)} == {
            name for frontend in expected for name in with_frontend(frontend)
        }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_section_shows_the_chain_and_builds_it(name: str) -> None:
    text, config = section(name, 4), ARCHITECTURES[name].config
    assert ARCHITECTURES[name].paper in text
    assert f"{ARCHITECTURES[name].parameters:,}" in text
    (chain,) = fences("mermaid", text)
    boxes = re.findall(r'\w+\["(.*?)(?:<br/>.*)?"\]', chain)
    signal = "waveform" if config.input.kind == "waveform" else "log-mel spectrogram"
    assert boxes == [signal, *(chosen.kind for _, chosen in config.blocks()), "tags"]
    assert [BUILD.fullmatch(code.strip())[1] for code in fences("python", text)] == [name]


def test_a_note_stays_where_it_is() -> None:
    assert "\n\nAfter the version in musicnn-training.\n\n```mermaid" in section("timbre", 4)


def test_links_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", t).replace(" ", "-").lower()
               for t in re.findall(r"^#+ (.*)$", page, re.M)}  # fmt: skip
    for target in re.findall(r"\]\((?!https:)(.*?)\)", page):
        path, _, anchor = target.partition("#")
        assert (ROOT / "docs" / path).exists(), target
        assert path or anchor in anchors, target


def test_boxes_are_quoted() -> None:
    """Mermaid reads what is in quotes as it is; a bare bracket or comma would end a box."""
    node, label = r"\w+", r'"[^"\[\]{}|;#]+"'
    box = rf"{node}(?:\[{label}\]|\{{{label}\}})?"
    line = re.compile(rf"  {box}(?: -->(?:\|{label}\|)? {box})?")
    for diagram in fences("mermaid"):
        head, *lines = diagram.splitlines()
        assert head == "flowchart LR"
        for each in lines:
            assert line.fullmatch(each), each


# === Mix your own ===


def test_the_matrix_is_what_the_blocks_accept() -> None:
    (_, *backends), *rows = table(section("Mix your own"))
    assert backends == block_names("backend")
    assert [row[0] for row in rows] == block_names("frontend")
    for frontend, *cells in rows:
        for backend, cell in zip(backends, cells, strict=True):
            assert {"✓": True, "–": False}[cell] == (misfit(frontend, backend) is None)


def test_what_the_page_says_on_midends_holds() -> None:
    (excepted,) = re.findall(r"every back-end but `(\w+)` after a mid-end", page)
    for frontend in block_names("frontend"):
        for midend in block_names("midend"):
            for backend in block_names("backend"):
                fits = misfit(frontend, backend, midend) is None
                assert fits == (backend != excepted)


def test_what_the_page_says_on_fixed_lengths_holds() -> None:
    (said,) = re.findall(r"`(\w+)` and `(\w+)` are built for one length of input", page)
    assert list(said) == [name for name in block_names("backend") if BLOCKS[name].fixed_length]


def test_a_misfit_is_refused_with_the_message_on_the_page() -> None:
    text = section("Mix your own")
    ((frontend, backend),) = re.findall(r'`frontend="(\w+)"`\s+with\s+`backend="(\w+)"`', text)
    (message,) = fences("text", text)
    with pytest.raises(ArgumentError) as refused:
        build_model(frontend=frontend, backend=backend)
    assert str(refused.value) == message.strip()


def test_the_default_pools_are_fcn4s() -> None:
    assert ARCHITECTURES["fcn4"].config.backend == block("fully_convolutional")
    assert _pools_for(341, 48, 3) == [(5, 4), (8, 3), (8, 4)]


# === Pretrained models and code ===


def test_every_pretrained_model_is_with_its_architecture() -> None:
    assert table(section("Pretrained models"))[1:] == [
        [name, PRESETS[name].architecture.name] for name in list_models()
    ]


def test_the_python_runs() -> None:
    scope: dict[str, object] = {}
    for code in fences("python"):
        built = BUILD.fullmatch(code.strip())
        if built and built[1] not in SMALLEST:
            assert built[1] in ARCHITECTURES
            continue
        for line in code.splitlines():
            exec(line, scope)
            if built:
                assert scope["model"].zoo_config == ARCHITECTURES[built[1]].config

"""Update what docs/architectures.md shows of the architectures, and keep its prose.

    python docs/architecture_page.py

Trees, tables, diagrams and numbers are made from ``ARCHITECTURES``, ``BLOCKS`` and ``PRESETS``,
default options and the lines on blocks from the blocks' source, which is read without importing
Keras. A note in the section of an architecture says where it is not its paper's, and is kept.
``tests/test_architecture_page.py`` fails while the page differs.
"""

import ast
import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import musicnn_zoo
from musicnn_zoo.networks.architectures import ARCHITECTURES, Architecture
from musicnn_zoo.networks.config import (
    BLOCKS,
    Block,
    BlockSpec,
    ModelConfig,
    WaveformInput,
    block_names,
    list_backends,
    patch_grid,
)
from musicnn_zoo.zoo.catalogue import PRESETS, list_models

PAGE = Path(__file__).parent / "architectures.md"
PACKAGE = Path(musicnn_zoo.__file__).parent
CHART, TABLE, LIST = r"```mermaid\n.*?```\n", r"(?:\|[^\n]*\n)+", r"(?:- [^\n]*\n)+"

SIGNALS = {"waveform": "waveform", "map": "log-mel spectrogram"}
QUESTIONS = (
    "input signal?",
    "domain knowledge?",
    "how many filter shapes<br/>in the first layer?",
)

Leaf = tuple[str, str, str]
"""Answers to :data:`QUESTIONS`."""

LEAVES: dict[Leaf, str] = {
    ("waveform", "no", "minimal"): "Sample-level",
    ("waveform", "yes", "one"): "Frame-level",
    ("waveform", "yes", "many"): "Frame-level, many shapes",
    ("log-mel spectrogram", "no", "minimal"): "Small rectangular",
    ("log-mel spectrogram", "yes", "one"): "Vertical or horizontal",
    ("log-mel spectrogram", "yes", "many"): "Vertical and/or horizontal",
}

KEY_OPTIONS = {
    "sample_level": ("filters", "variant"),
    "frame_level": ("filters", "length", "stride"),
    "frame_level_multiscale": ("lengths", "strides"),
    "vgg": ("filters",),
    "rectangular": ("filters",),
    "short_chunk": ("filters", "residual"),
    "vertical": ("filters", "width"),
    "timbral": ("branches",),
    "horizontal": ("filters", "kernels"),
    "timbral_temporal": ("timbral", "temporal"),
    "dense_residual": ("filters", "width"),
    "residual": ("filters", "width"),
    "temporal_pooling": ("mode", "units"),
    "autopool": ("units",),
    "attention": ("weights", "positions", "units"),
    "recurrent": ("cell", "cell_units", "depth", "units"),
    "self_attention": ("width", "depth", "heads"),
    "fully_convolutional": ("filters",),
    "mlp": ("units",),
}
"""Options of each block that its box in a diagram shows."""

BRANCHES = ("timbral", "temporal", "branches")


def page() -> str:
    """Return the whole page in Markdown."""
    text = PAGE.read_text(encoding="utf-8")
    notes = dict(re.findall(r"^#### (\w+)\n.*?^Input: .*?\n\n(.*?)```mermaid", text, re.M | re.S))
    midends = (f"{_line(name)} ({BLOCKS[name].paper})\n" for name in block_names("midend"))
    for heading, pattern, made in (
        ("Front-ends", CHART, _chart(_branch((), tuple(LEAVES)))),
        ("Front-ends", TABLE, _frontend_table()),
        ("Mid-ends", LIST, "".join(midends)),
        ("Back-ends", TABLE, _backend_table()),
        ("The architectures", "###.*", "\n".join(_leaf_sections(notes)) + "\n"),
        ("Mix your own", TABLE, _matrix()),
        ("Pretrained models", TABLE, _pretrained_table()),
    ):
        section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        place = section and re.compile(rf"^{pattern}", re.M | re.S).search(text, *section.span(1))
        if place is None:
            raise ValueError(f"there is no place for what is made under {heading!r}")
        text = text[: place.start()] + made + text[place.end() :]
    return text


# === Front-ends, mid-ends and back-ends ===


def leaf_of(spec: BlockSpec) -> Leaf:
    """Return the answers that lead to a front-end."""
    return SIGNALS[spec.takes], "yes" if spec.domain_knowledge else "no", spec.shapes


def _frontends_of(leaf: Leaf) -> list[str]:
    return [name for name in block_names("frontend") if leaf_of(BLOCKS[name]) == leaf]


def _beginning_with(frontend: str) -> list[Architecture]:
    return [a for a in ARCHITECTURES.values() if a.config.frontend.kind == frontend]


def _branch(given: tuple[str, ...], leaves: tuple[Leaf, ...]) -> Iterator[str]:
    """Yield the part of the tree below the answers ``given``."""
    depth, node = len(given), _identifier("ask", *given)
    yield f'{node}{{"{QUESTIONS[depth]}"}}'
    for answer in dict.fromkeys(leaf[depth] for leaf in leaves):
        below = tuple(leaf for leaf in leaves if leaf[depth] == answer)
        if len(below) > 1:
            yield f'{node} -->|"{answer}"| {_identifier("ask", *given, answer)}'
            yield from _branch((*given, answer), below)
        else:
            (leaf,) = below
            label = answer + "".join(f" ({rest})" for rest in leaf[depth + 1 :])
            kind = _identifier("leaf", *leaf)
            yield f'{node} -->|"{label}"| {kind}'
            yield _box(kind, LEAVES[leaf])
            for frontend in _frontends_of(leaf):
                names = ", ".join(architecture.name for architecture in _beginning_with(frontend))
                yield f"{kind} --> {_box(_identifier('block', frontend), frontend, names)}"


def _frontend_table() -> str:
    rows = []
    for leaf, title in LEAVES.items():
        for frontend in _frontends_of(leaf):
            built = ", ".join(_to_section(a.name) for a in _beginning_with(frontend))
            rows.append((*leaf, title, _to_source(frontend), built, BLOCKS[frontend].paper))
    head = ("input", "domain knowledge", "filter shapes", "kind", "front-end", "architectures",
            "paper")  # fmt: skip
    return _table(head, rows)


def _backend_table() -> str:
    rows = []
    for name in sorted(block_names("backend"), key=lambda name: BLOCKS[name].fixed_length):
        spec, does = BLOCKS[name], _does(name).rpartition(": ")[2]
        length = "fixed" if spec.fixed_length else "variable"
        scores = "yes" if spec.framewise else "no"
        rows.append((length, _to_source(name), does[0].upper() + does[1:], scores, spec.paper))
    return _table(("length", "back-end", "what it is", "frame-wise scores", "paper"), rows)


def _line(name: str) -> str:
    """Return what a block does; whose it is stands elsewhere."""
    return f"- {_to_source(name)}: {_does(name).removesuffix(f': {BLOCKS[name].paper}')}"


# === Architectures ===


def _leaf_sections(notes: dict[str, str]) -> Iterator[str]:
    for leaf, title in LEAVES.items():
        frontends = _frontends_of(leaf)
        yield f"### {title}\n\n" + "".join(f"{_line(name)}\n" for name in frontends)
        for architecture in ARCHITECTURES.values():
            if architecture.config.frontend.kind in frontends:
                yield _section(architecture, notes.get(architecture.name, ""))


def _section(architecture: Architecture, note: str) -> str:
    config, seen = architecture.config, architecture.receptive_field_s
    signal = SIGNALS[BLOCKS[config.frontend.kind].takes]
    length = "only" if config.fixed_length else "or any length"
    facts = (
        f"Input: {signal} at {config.input.sample_rate / 1000:g} kHz, "
        f"{patch_grid(config).patch_s:.3f} s {length} · Parameters: {architecture.parameters:,} · "
        f"Receptive field: {f'{seen:.3f} s' if math.isfinite(seen) else 'the whole input'}"
    )
    return (
        f"#### {architecture.name}\n\n{_fill(architecture.paper + '.')}\n\n{_fill(facts)}\n\n"
        f"{note}{_chart(_chain(config))}\n"
        f'```python\nmodel = musicnn_zoo.build_model("{architecture.name}")\n```\n'
    )


def _chain(config: ModelConfig) -> Iterator[str]:
    yield _box("signal", *_describe_signal(config))
    last = "signal"
    for role, chosen in config.blocks():
        yield f"{last} --> {_box(role, chosen.kind, *_describe_options(chosen))}"
        last = role
    yield f"{last} --> {_box('tags', 'tags')}"


def _describe_signal(config: ModelConfig) -> list[str]:
    samples, signal = patch_grid(config).patch_samples, config.input
    if isinstance(signal, WaveformInput):
        return ["waveform", f"{samples:,} samples"]
    size = f"{signal.frames(samples):,} frames × {signal.n_mels} bands"
    windows = signal.shorter_windows
    return ["log-mel spectrogram", size] + [f"{1 + len(windows)} window lengths"] * bool(windows)


def _describe_options(chosen: Block) -> Iterator[str]:
    options = {**_defaults(chosen.kind), **dict(chosen.options)}
    for name in KEY_OPTIONS[chosen.kind]:
        value = options[name]
        if value is True:
            yield name
        elif name in BRANCHES:
            yield f"{name}: {sum(b[-1] for b in value)} filters in {len(value)} shapes"
        elif value is not None and value is not False:
            yield f"{name}: {_brief(value)}"


def _brief(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    if isinstance(value[0], tuple):
        return ", ".join("×".join(map(str, item)) for item in value)
    if len(value) > 4:
        return f"{value[0]}…{value[-1]} in {len(value)} layers"
    return ", ".join(map(str, value))


# === Mix your own, pretrained models ===


def _matrix() -> str:
    backends = block_names("backend")
    rows = (
        (
            f"`{frontend}`",
            *("✓" if backend in list_backends(frontend) else "–" for backend in backends),
        )
        for frontend in block_names("frontend")
    )
    return _table(("", *(f"`{backend}`" for backend in backends)), rows, centred=True)


def _pretrained_table() -> str:
    rows = ((f"`{n}`", _to_section(PRESETS[n].architecture.name)) for n in list_models())
    return _table(("model", "architecture"), rows)


# === The blocks' source ===


@cache
def _source(module: str) -> dict[str, Any]:
    """Return what a module defines by name: functions, and the values of its constants."""
    path, defined = PACKAGE / "networks" / f"{module}.py", {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name):
                defined[name] = node
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                defined[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                defined[name] = value
    return defined


def _defaults(name: str) -> dict[str, Any]:
    """Return the default options of a block; constants of its module are looked up."""
    source = _source(BLOCKS[name].module)
    arguments = source[name].args
    return {
        option.arg: ast.literal_eval(source[value.id] if isinstance(value, ast.Name) else value)
        for option, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if value is not None
    }


def _does(name: str) -> str:
    """Return the first line of a block's docstring in Markdown, without its full stop."""
    text = (ast.get_docstring(_source(BLOCKS[name].module)[name]) or "").splitlines()[0]
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").removesuffix(".")


# === Markdown and mermaid ===


def _fill(paragraph: str) -> str:
    return textwrap.fill(paragraph, 100, break_on_hyphens=False, break_long_words=False)


def _to_source(name: str) -> str:
    return f"[`{name}`](../musicnn_zoo/networks/{BLOCKS[name].module}.py)"


def _to_section(architecture: str) -> str:
    return f"[{architecture}](#{architecture})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], *, centred: bool = False) -> str:
    head = tuple(head)
    rule = f"|---|{(':-:|' if centred else '---|') * (len(head) - 1)}\n"
    first, *others = (f"| {' | '.join(row)} |\n" for row in (head, *rows))
    return first + rule + "".join(others)


def _chart(lines: Iterable[str]) -> str:
    body = "".join(f"  {line}\n" for line in lines)
    return f"```mermaid\nflowchart LR\n{body}```\n"


def _box(node: str, *lines: str) -> str:
    return f'{node}["{"<br/>".join(filter(None, lines))}"]'


def _identifier(*words: str) -> str:
    return re.sub(r"\W", "_", "_".join(words))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

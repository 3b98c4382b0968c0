"""The site of the command app: what is written, where its runtime comes from, how it is served."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT, bundled_graph
from helpers_pages import ask
from helpers_web import MODULE, serving_site
from hub_server import HubServer, patch_hub

import musicnn_zoo
from musicnn_zoo import ArgumentError, DownloadError
from musicnn_zoo.cli import cli
from musicnn_zoo.runtimes.onnx_engine import open_session
from musicnn_zoo.web import runtime
from musicnn_zoo.web.runtime import find_runtime
from musicnn_zoo.web.site import MODULE as PARTS
from musicnn_zoo.web.site import write_models, write_site
from musicnn_zoo.zoo import downloads
from musicnn_zoo.zoo.load import find_pretrained
from musicnn_zoo.zoo.weights import bundled_folder

CONTENTS = {
    "ort.wasm.min.mjs": b"export const env = {};\n",
    "ort-wasm-simd-threaded.mjs": b"export default 1;\n",
    "ort-wasm-simd-threaded.wasm": b"\0asm" + bytes(100_000),
}


def small():
    """An onnxruntime-web of a few bytes, and no other package."""
    digests = {
        f"dist/{name}": hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()
    }
    return (replace(runtime.ONNXRUNTIME, files=digests),)


def find_onnxruntime(place=None):
    return find_runtime(place)["onnxruntime-web"]


@pytest.fixture
def small_runtime(monkeypatch, tmp_path):
    """An onnxruntime-web of a few bytes, in a folder as npm installs it, and an empty cache."""
    monkeypatch.setattr(runtime, "PACKAGES", small())
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MUSICNN_ZOO_RUNTIME", raising=False)
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / "dist" / name).write_bytes(content)
    return folder


def packed(place, contents=CONTENTS):
    """Write a package as npm does."""
    with tarfile.open(place, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return place


def read(files):
    return {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture
def offline(monkeypatch, small_runtime):
    """Neither npm nor a network."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(downloads, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(runtime, "ADDRESS", "http://127.0.0.1:9/npm")


@pytest.mark.parametrize("form", ["package", "dist", "unpacked", "tgz"])
def test_the_runtime_is_taken_from_what_is_named_and_kept(
    small_runtime, offline, tmp_path, form
) -> None:
    place = {
        "package": small_runtime,
        "dist": small_runtime / "dist",
        "unpacked": small_runtime.parent / "unpacked",
        "tgz": packed(tmp_path / "o.tgz"),
    }[form]
    if form == "unpacked":
        shutil.copytree(small_runtime, place / "package")
    assert read(find_onnxruntime(place)) == CONTENTS
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    kept = find_onnxruntime()
    assert read(kept) == CONTENTS
    assert {path.parent for path in kept.values()} == {
        tmp_path / "cache" / f"onnxruntime-web-{runtime.ONNXRUNTIME.version}"
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nowhere", "must be a folder, or a .tgz as 'npm pack"),
        (lambda folder: folder.joinpath("dist", "ort.wasm.min.mjs"), "must be a folder, or a .tgz"),
        (lambda folder: ROOT, "ort.wasm.min.mjs is not in it or cannot be read"),
        (lambda folder: packed(folder / "o.tgz", CONTENTS | {"ort.wasm.min.mjs": b"other"}),
         "ort.wasm.min.mjs is not that of onnxruntime-web 1.30.0; its SHA-256 must be"),
        (lambda folder: cut(packed(folder / "o.tgz")), "cannot be read"),
    ],
)  # fmt: skip
def test_another_runtime_is_refused(small_runtime, offline, make, said) -> None:
    with pytest.raises(ArgumentError, match=re.escape(said)):
        find_onnxruntime(make(small_runtime))
    with pytest.raises(DownloadError):
        find_onnxruntime()  # nothing was kept


def test_the_second_package_lies_beside_the_first_or_is_kept(
    small_runtime, offline, tmp_path, monkeypatch
) -> None:
    content = b"export const Input = class {};\n"
    second = runtime.NpmPackage(
        "second", "2.0.0", "which is a test", {"dist/it.mjs": hashlib.sha256(content).hexdigest()}
    )
    monkeypatch.setattr(runtime, "PACKAGES", (*small(), second))
    with pytest.raises(DownloadError, match=r"second 2\.0\.0, which is a test, cannot be had: npm"):
        find_runtime(small_runtime)
    packed(tmp_path / "second-2.0.0.tgz", {"it.mjs": content})
    first = packed(tmp_path / "o.tgz")
    assert read(find_runtime(first)["second"]) == {"it.mjs": content}
    (tmp_path / "second-2.0.0.tgz").unlink()
    assert read(find_runtime(small_runtime)["second"]) == {"it.mjs": content}


def cut(path):
    path.write_bytes(path.read_bytes()[:200])
    return path


def test_what_was_kept_and_changed_is_not_used(small_runtime, offline) -> None:
    kept = find_onnxruntime(small_runtime)
    kept["ort.wasm.min.mjs"].write_bytes(b"changed")
    with pytest.raises(DownloadError):
        find_onnxruntime()
    assert read(find_onnxruntime(small_runtime)) == CONTENTS


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_npm_is_asked_first(small_runtime, offline, tmp_path, monkeypatch) -> None:
    archive = packed(tmp_path / "o.tgz")
    tools = tmp_path / "tools"
    tools.mkdir()
    npm = tools / "npm"
    npm.write_text(f'#!/bin/sh\n[ "$1 $2" = "pack {runtime.ONNXRUNTIME}" ] || exit 3\n'
                   f'/bin/cp "{archive}" "$4/onnxruntime-web.tgz"\n')  # fmt: skip
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert read(find_onnxruntime()) == CONTENTS


def test_it_comes_from_the_network_where_npm_is_not(
    small_runtime, offline, tmp_path, monkeypatch
) -> None:
    with HubServer() as server:
        patch_hub(monkeypatch, server, tmp_path / "hf")
        for name, content in CONTENTS.items():
            server.add_file(f"npm/{runtime.ONNXRUNTIME}/dist/{name}", content)
        monkeypatch.setattr(runtime, "ADDRESS", f"{server.endpoint}/npm")
        assert read(find_onnxruntime()) == CONTENTS
        asked = len(server.requests)
        assert read(find_onnxruntime()) == CONTENTS
        assert len(server.requests) == asked
    assert not any((tmp_path / "cache" / "downloads").glob("*.wasm"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_without_a_network_one_line_says_what_to_do(
    small_runtime, offline, tmp_path, monkeypatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "npm").write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    (tools / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    result = CliRunner().invoke(cli, ["app", str(tmp_path / "site")])
    assert result.exit_code == 1
    assert re.fullmatch(
        r"Error: onnxruntime-web 1\.30\.0, which computes the models in a browser, cannot be had: "
        r"npm pack failed \(npm error code ENOTFOUND\); http://127\.0\.0\.1:9/.*; without a "
        r"network, run 'npm pack onnxruntime-web@1\.30\.0' on another machine and name the "
        r"first file it writes: --runtime FILE\n",
        result.output,
    )
    assert not (tmp_path / "site").exists()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site of two models, with a runtime of a few bytes."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "PACKAGES", small())
        place = packed(folder / "o.tgz")
        yield write_site(
            folder / "site", models=["MSD_musicnn", "MTT_vgg"], runtime=place, space=True
        )


def test_the_site_has_all_it_needs_and_says_so(site) -> None:
    found = {
        path.relative_to(site.folder).as_posix(): path.stat().st_size
        for path in site.folder.rglob("*")
        if path.is_file()
    }
    assert found == site.files
    assert {f"lib/{name}" for name in PARTS} <= found.keys()
    assert {"index.html", "README.md", "models/models.json", "models/MTT_vgg/LICENSE"} <= set(found)
    assert {"LICENSE", "ThirdPartyNotices.txt", "ort.wasm.min.js"} <= {
        name.removeprefix("runtime/") for name in found
    }
    assert "lib/LICENSE" in found
    assert "sdk: static" in (site.folder / "README.md").read_text(encoding="utf-8")
    first, *_ = (site.folder / "service-worker.js").read_text(encoding="utf-8").splitlines()
    kept = json.loads(first.removeprefix("const SITE = ").removesuffix(";"))
    assert set(kept["files"]) == found.keys() - {"service-worker.js", "README.md"}
    assert "Microsoft" in (site.folder / "runtime" / "LICENSE").read_text(encoding="utf-8")


def test_every_module_is_in_the_site() -> None:
    assert {path.name for path in MODULE.glob("*.js")} == set(PARTS)


def test_a_model_says_what_it_is_beside_its_graph(site) -> None:
    listed = json.loads((site.folder / "models" / "models.json").read_text())
    assert listed == ["MSD_musicnn", "MTT_vgg"]
    for name in listed:
        folder = site.folder / "models" / name
        said = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        info = musicnn_zoo.model_info(name)
        content = (folder / "model.onnx").read_bytes()
        assert said["tags"] == list(info.tags)
        assert said["graph"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert said["graph"]["bytes"] == len(content)
        assert said["provenance"]["citation"] == info.citation
        assert said["license"] == {"name": "ISC", "file": "LICENSE"}
        assert (folder / "LICENSE").read_text(encoding="utf-8") == bundled_folder().joinpath(
            "LICENSE"
        ).read_text(encoding="utf-8")
        assert said["patchSamples"] == 48_128
        session = open_session(folder / "model.onnx")
        shapes = {output.name: output.shape[-1] for output in session.get_outputs()}
        assert shapes == {"output": 50, "penultimate": said["embedding"]["size"]}
        assert len(content) < bundled_graph(name).stat().st_size


def test_a_site_is_written_again_and_nothing_else_is_overwritten(site, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "PACKAGES", small())
    place = packed(tmp_path / "o.tgz")
    folder = Path(shutil.copytree(site.folder, tmp_path / "again"))
    again = write_site(folder, models=["MTT_vgg"], runtime=place)
    assert "models/MSD_musicnn/model.onnx" not in again.files
    assert not (folder / "models" / "MSD_musicnn").exists()
    for target, said in ((tmp_path, "is no site of this package"), (place, "is a file")):
        with pytest.raises(ArgumentError, match=said):
            write_site(target, models=["MTT_vgg"], runtime=place)


def test_files_of_others_are_never_lost(site, tmp_path, small_runtime) -> None:
    """A page of one's own beside models of ours; files beside a site, and in its folders."""
    own = tmp_path / "own"
    write_models(own, models=["MTT_vgg"])
    (own / "index.html").write_text("mine")
    with pytest.raises(ArgumentError, match="is no site of this package"):
        write_site(own, models=["MTT_vgg"], runtime=small_runtime)
    folder = Path(shutil.copytree(site.folder, tmp_path / "again"))
    mine = [folder / name for name in ("CNAME", "lib/mine.js", "models/MSD_musicnn/notes.txt")]
    for path in mine:
        path.write_text("mine")
    write_site(folder, models=["MTT_vgg"], runtime=small_runtime)
    assert {path.read_text() for path in mine} == {"mine"}
    assert not (folder / "models" / "MSD_musicnn" / "model.onnx").exists()
    new = folder / "models" / "MSD_vgg" / "model.json"
    new.parent.mkdir()
    new.write_text("mine")
    with pytest.raises(ArgumentError, match=r"names of its files: 'models/MSD_vgg/model\.json'"):
        write_site(folder, models=["MSD_vgg"], runtime=small_runtime)
    assert new.read_text() == (own / "index.html").read_text() == "mine"
    assert (folder / "models" / "MTT_vgg" / "model.onnx").is_file()


def test_a_list_that_leaves_the_folder_is_no_site(tmp_path, small_runtime) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("../outside.txt", str(outside)):
        listed = {"version": "0", "files": [name]}
        (folder / "service-worker.js").write_text(f"const SITE = {json.dumps(listed)};\n")
        with pytest.raises(ArgumentError, match="is no site of this package"):
            write_site(folder, models=["MTT_vgg"], runtime=small_runtime)
    assert outside.read_text() == "mine"


def test_a_run_that_was_killed_leaves_nothing(tmp_path, small_runtime, monkeypatch) -> None:
    """Before the first file is moved, or between two."""
    folder = tmp_path / "site"
    (folder / ".unfinished-1" / "models").mkdir(parents=True)
    moved = []
    own = Path.replace

    def replace_some(path, target):
        moved.append(target)
        if len(moved) == 5:
            raise KeyboardInterrupt
        return own(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_some)
        with pytest.raises(KeyboardInterrupt):
            write_site(folder, models=["MTT_vgg"], runtime=small_runtime)
    site = write_site(folder, models=["MSD_vgg"], runtime=small_runtime)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == site.files.keys()
    assert not any(path.name.startswith(".") for path in folder.iterdir())
    assert not (folder / "models" / "MTT_vgg").exists()


def test_a_clone_of_a_new_space_is_empty_enough(tmp_path, small_runtime) -> None:
    folder = tmp_path / "clone"
    (folder / ".git").mkdir(parents=True)
    card = folder / "README.md"
    card.write_text("# A project\n")
    with pytest.raises(ArgumentError, match="is no site of this package"):
        write_site(folder, models=["MTT_vgg"], runtime=small_runtime, space=True)
    card.write_text("---\ntitle: Mine\nsdk: static\n---\n")
    write_site(folder, models=["MTT_vgg"], runtime=small_runtime, space=True)
    written = card.read_text(encoding="utf-8")
    assert "musicnn-zoo app --space" in written
    assert (folder / ".git").is_dir()
    card.write_text(written.replace("Tags of music", "My tags"), encoding="utf-8")
    write_site(folder, models=["MTT_vgg"], runtime=small_runtime, space=True)
    assert "title: My tags" in card.read_text(encoding="utf-8")


def test_the_server_gives_the_site_and_nothing_else(site) -> None:
    kinds = {
        "/": "text/html; charset=utf-8",
        "/index.html?x=1": "text/html; charset=utf-8",
        "/lib/tagger.js": "text/javascript; charset=utf-8",
        "/runtime/ort.wasm.min.js": "text/javascript; charset=utf-8",
        "/runtime/ort-wasm-simd-threaded.wasm": "application/wasm",
        "/models/MTT_vgg/model.json": "application/json",
        "/models/MTT_vgg/model.onnx": "application/octet-stream",
        "/tutorial/data.bin": "application/octet-stream",
        "/lib/LICENSE": "text/plain; charset=utf-8",
    }
    with serving_site(site) as server:
        for path, kind in kinds.items():
            answer, content = ask(server, path)
            assert (answer.status, answer.headers["Content-Type"]) == (200, kind), path
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert (
                content == (site.folder / (path[1:].partition("?")[0] or "index.html")).read_bytes()
            )
        for path in ("/../o.tgz", "/%2e%2e/o.tgz", "/lib/", "/lib", "//etc/passwd", "/o.tgz", "*"):
            assert ask(server, path)[0].status in (400, 404), path
        assert ask(server, "/", host="example.org")[0].status == 403
        (site.folder / "lib" / "errors.js").rename(site.folder / "moved")
        (site.folder / "lib" / "errors.js").symlink_to(ROOT / "README.md")
        assert ask(server, "/lib/errors.js")[0].status == 404
        (site.folder / "moved").replace(site.folder / "lib" / "errors.js")


def test_models_whose_names_are_no_names_of_folders(tmp_path, monkeypatch) -> None:
    found = find_pretrained("MTT_vgg")
    named = replace(found, spec=replace(found.spec, name=".."))
    monkeypatch.setattr("musicnn_zoo.web.site.find_pretrained", lambda model: named)
    with pytest.raises(ArgumentError, match=r"begin with a letter or digit; received '\.\.'"):
        write_models(tmp_path / "a" / "b", models=["x"])
    named = found
    with pytest.raises(ArgumentError, match="received twice: MTT_vgg"):
        write_models(tmp_path / "a" / "b", models=["x", "y"])
    assert list(tmp_path.iterdir()) == []


def test_models_alone(tmp_path) -> None:
    result = CliRunner().invoke(cli, ["app", "--only-models", str(tmp_path)])
    assert result.exit_code == 0
    assert sorted(Path(line).name for line in result.output.splitlines()) == [
        "MSD_musicnn", "MSD_vgg", "MTT_musicnn", "MTT_vgg"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a folder for the page, or give --serve"),
        (["site", "--port", "1"], "--port goes with --serve"),
        (["site", "--only-models", "--space"], "--only-models goes with neither --serve nor"),
        (["site", "-m", "MTT_nothing"], "unknown model 'MTT_nothing'"),
        (["https://example.org/site"], "no address is taken here"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, monkeypatch, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["app", *arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_package_of_npm_has_the_version_and_licence_of_this_one() -> None:
    said = json.loads((MODULE / "package.json").read_text())
    assert said["version"] == musicnn_zoo.__version__
    assert said["dependencies"] == {runtime.ONNXRUNTIME.name: runtime.ONNXRUNTIME.version}
    assert (MODULE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_types_name_what_there_is(site) -> None:
    declared = (MODULE / "musicnn-zoo-web.d.ts").read_text()
    code = (MODULE / "tagger.js").read_text()
    (errors,) = re.findall(r"^export \{ (.*) \};", code, re.MULTILINE)
    functions = re.findall(r"^export (?:async )?function (\w+)", code, re.MULTILINE)
    for name in [*errors.split(", "), *functions]:
        assert re.search(rf"^export (class|function) {name}\b", declared, re.MULTILINE), name
    (block,) = re.findall(r"interface ModelInfo \{(.*?)^\}", declared, re.DOTALL | re.MULTILINE)
    said = json.loads((site.folder / "models" / "MTT_vgg" / "model.json").read_text())
    assert set(re.findall(r"^  readonly (\w+):", block, re.MULTILINE)) == said.keys()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_serving_ends_with_ctrl_c(small_runtime, tmp_path) -> None:
    code = (
        "import sys; from musicnn_zoo.web import runtime; "
        f"runtime.PACKAGES = (runtime.NpmPackage(**{vars(small()[0])!r}),); "
        "from musicnn_zoo.cli import cli; cli(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "app", "--serve", "-m", "MTT_vgg", "--runtime"]
    with subprocess.Popen(
        [*command, str(small_runtime)], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert re.match(r"http://127\.0\.0\.1:\d+/  Ctrl\+C ends it", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not list(tmp_path.glob("musicnn-zoo-*"))

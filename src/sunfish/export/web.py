"""Owns a folder that any static server shows: a page, the model, and the runtime that runs it in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from sunfish.checkpoint.folder import Checkpoint
from sunfish.export.write import check_new, check_packages, load_for_export, new_folder, write_model
from sunfish.utils import UsageError, file_sha256

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
MODEL, RUNTIME = "model", "runtime"
HASHES = {  # of the files of the package that the page needs
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
FETCH_SECONDS = 600


def export_web(path: Path, folder: Path, *, int8: bool = False, runtime: Path | None = None) -> Path:
    """Write the checkpoint ``path`` with a page that runs it to a new ``folder``.

    Args:
        path: A checkpoint, as :func:`sunfish.checkpoint.folder.load_checkpoint` takes it.
        folder: There is none, or it is empty.
        int8: Weights of 8 bits; see :func:`sunfish.export.int8.quantize_graph`.
        runtime: The npm package onnxruntime-web, unpacked; None: npm fetches it.

    Returns:
        The folder.

    Raises:
        UsageError: The folder holds something, or the checkpoint has a part that the page does not have.
        ImportError: The extra ``onnx`` is not installed.
        ValueError: The runtime cannot be fetched, or is of another version.
        WriteError: A file could not be written.
    """
    check_packages()
    check_new(folder)
    checkpoint = load_for_export(path)
    check_tokenizer(checkpoint)
    with new_folder(folder) as temporary:
        write_runtime(temporary / RUNTIME, runtime)
        (temporary / MODEL).mkdir()
        write_model(temporary / MODEL, checkpoint, int8)
        with as_file(files("sunfish.export") / "web") as page:
            shutil.copytree(page, temporary, dirs_exist_ok=True)
    return folder


def check_tokenizer(checkpoint: Checkpoint) -> None:
    """Raise ``UsageError`` for a vocabulary that the page cannot read: all but ``bpe`` and ``bytes``."""
    content = json.loads(checkpoint.tokenizer.engine.to_str())
    before = (content["pre_tokenizer"] or {}).get("pretokenizers", ())
    kinds = [content["model"]["type"], *(part["type"] for part in before)]
    if kinds != ["BPE", "Split", "ByteLevel"] or checkpoint.prompt_tokenizer is not checkpoint.tokenizer:
        raise UsageError(
            f"the page reads the tokenizers bpe and bytes, but {checkpoint.path} has another one; export it with --onnx"
        )


def write_runtime(folder: Path, source: Path | None) -> None:
    """Write the files of onnxruntime-web that the page needs to a new ``folder``.

    Raises:
        ValueError: They cannot be fetched, or are not those of the version that the page was tested with.
    """
    folder.mkdir()
    if source is None:
        _fetch(folder)
    else:
        for name in HASHES:
            file = source / "dist" / name
            if not file.is_file():
                raise ValueError(
                    f"--runtime {source} has no dist/{name}; give the unpacked npm package {PACKAGE}"
                )
            shutil.copyfile(file, folder / name)
    for name, expected in HASHES.items():
        if file_sha256(folder / name) != expected:
            raise ValueError(
                f"{name} of {source or 'npm'} is not that of {PACKAGE} {VERSION}; give this version"
            )


def _fetch(folder: Path) -> None:
    """Let npm fetch the package, and take the files from it."""
    npm, remedy = shutil.which("npm"), f"give --runtime FOLDER, the npm package {PACKAGE} {VERSION} unpacked"
    if npm is None:
        raise ValueError(f"{PACKAGE} comes from npm, which is not installed; install Node.js, or {remedy}")
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--ignore-scripts", "--silent", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(
                words, cwd=temporary, capture_output=True, text=True, errors="replace", timeout=FETCH_SECONDS
            )
        except subprocess.TimeoutExpired as late:
            raise ValueError(f"npm did not fetch {PACKAGE} within {FETCH_SECONDS} s; {remedy}") from late
        packed = sorted(Path(temporary).glob("*.tgz"))
        if done.returncode or not packed:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            raise ValueError(
                f"npm could not fetch {PACKAGE} {VERSION} ({reason}); check the network, or {remedy}"
            )
        with tarfile.open(packed[0]) as archive:
            for name in HASHES:
                content = archive.extractfile(f"package/dist/{name}")
                assert content is not None
                (folder / name).write_bytes(content.read())

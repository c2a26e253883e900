"""Whether the encoder takes the images, and fits every file with weights that a row starts from.

It is asked at the start of every run, of a protocol in which nothing may have changed since. So what has once
been found to fit is kept as a hash of all that decides it, and torch is imported only for something new.
"""

import contextlib
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from bench.cells.files import STORE, read_json, write_json
from bench.cells.fingerprints import digest, module_fingerprint
from bench.cells.method_facts import method_facts
from bench.protocol.protocol import Protocol
from bench.protocol.starting_points import may_not_fit, starting_point
from imssl.errors import UserError

FITTING = STORE / "fitting_encoder.json"
LIBRARIES = ("torch", "torchvision", "timm")

# By number of channels and SHA-256, so that equal files are read once.
Files = dict[tuple[int, str], Path]


def check_encoder(protocol: Protocol) -> None:
    """See whether the encoder can be made, takes the images, and fits every file that it may start from.

    Raises:
        UserError: it cannot, does not, or a file does not hold it or cannot be read.
    """
    if not may_not_fit(protocol):
        return
    files = _files(protocol)
    content = {"fits": _decided_by(protocol, files)}
    with contextlib.suppress(OSError, UserError):
        if FITTING.is_file() and read_json(FITTING) == content:
            return
    _refuse_unfit(protocol, files)
    if STORE.is_dir():
        with contextlib.suppress(OSError):  # then it is looked at again the next time
            write_json(FITTING, content)


def _files(protocol: Protocol) -> Files:
    facts, files = method_facts(protocol), Files()
    for dataset, settings in protocol.datasets.items():
        for method in protocol.methods:
            start = starting_point(method, dataset, protocol, facts[method].from_scratch)
            if start and start.file:
                files.setdefault((settings.channels, start.sha256), start.file)
    return files


def _decided_by(protocol: Protocol, files: Files) -> str:
    """Hash of everything that the answer depends on."""
    content = {
        "encoder": protocol.encoder.model_dump(mode="json", exclude={"weights"}),
        "images": _kinds_of_images(protocol),
        "files": sorted(files),
        "code": digest(module_fingerprint("imssl.encoder") | module_fingerprint("imssl.encoders.weights")),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _kinds_of_images(protocol: Protocol) -> list[tuple[int, int]]:
    """Numbers of channels with sides in pixels, each pair once."""
    return sorted({(settings.channels, settings.size) for settings in protocol.datasets.values()})


def _refuse_unfit(protocol: Protocol, files: Files) -> None:
    from bench.methods.encoders.loading import load_or_advise
    from imssl.encoder import build_encoder, refuse_image_size

    kinds = _kinds_of_images(protocol)
    encoders = {channels: build_encoder(protocol.encoder, channels) for channels, _ in kinds}
    for channels, size in kinds:
        refuse_image_size(encoders[channels], protocol.encoder.name, size)
    for (channels, _), file in files.items():
        load_or_advise(encoders[channels], protocol.encoder, channels, file)

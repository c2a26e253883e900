"""The paper that the suite reproduces: which methods of a protocol are its methods."""

from bench.protocol.protocol import Protocol
from bench.protocol.registry import method_file
from imssl.errors import UserError

# Files of the paper's own methods, and of the one that they are compared with.
PAPER_METHODS = ("moco_mse", "moco_barlow")
COMPARED_WITH = "moco"


def methods_of(protocol: Protocol, stem: str) -> list[str]:
    """Ids of the protocol's methods that one file of imssl/methods defines, in the protocol's order."""
    return [method for method in protocol.methods if file_stem(protocol, method) == stem]


def file_stem(protocol: Protocol, method: str) -> str:
    """Name of the file that defines a method, without its suffix; empty where there is no such file."""
    try:
        return method_file(method, protocol).stem
    except UserError:
        return ""

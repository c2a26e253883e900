"""How a method departs from what all methods share, beside its loss: read off its class."""

import ast
import inspect

from imssl.method import Method

# What a method may override, and what a reader is then informed of.
OVERRIDDEN = {
    "partners": "views of other training images",
    "augmented": "its own augmentation",
    "optimizer": "its own optimiser",
    "learning_rate_factor": "its own learning-rate schedule",
}
PATIENTS = "patient ids"


def departures(method: type[Method]) -> list[str]:
    """What a method uses that not every method does: ``["patient ids", "its own augmentation"]``.

    A method uses patient ids if its file, or that of a method it derives from, reads ``batch.group`` or
    ``training_set.groups``.
    """
    words = [PATIENTS] if any(_reads_patients(kind) for kind in method.__mro__) else []
    return words + [
        departure
        for name, departure in OVERRIDDEN.items()
        if getattr(method, name) is not getattr(Method, name)
    ]


def _reads_patients(kind: type) -> bool:
    if kind is Method or not issubclass(kind, Method):
        return False
    module = inspect.getmodule(kind)
    tree = ast.parse(inspect.getsource(module or kind))
    # The groups of a regular expression's match are asked for by a call.
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return any(
        isinstance(node, ast.Attribute) and id(node) not in called and _is_a_patients_code(node)
        for node in ast.walk(tree)
    )


def _is_a_patients_code(node: ast.Attribute) -> bool:
    """``batch.group``, or ``training_set.groups``; the groups of a convolution are something else."""
    owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return node.attr == "group" or (node.attr == "groups" and owner == "training_set")

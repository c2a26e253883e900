"""What an author is told: one row for one mistake, and in its hint what to do about it."""

import json

import pytest

from tests.bench.conformance.method_files import HEAD, method

RETURNS_AN_OPTIMISER = "def optimizer(self, optimisation):\n        return {}"
NAN_LATER = """def after_step(self, batch):
        if batch.step == 2:
            self.head.weight.data.fill_(float("nan"))"""
EXTRA_STATE = """def get_extra_state(self):
        import numpy
        return {"counts": [1, numpy.float64(2.0)]}

    def set_extra_state(self, state):
        pass"""

# Content, the check that fails, words of what was found and of the hint.
MISTAKES = {
    "an error in __init__": (
        method(init="raise KeyError('oh')"),
        "construction",
        ["mine.py, line 12: KeyError: 'oh'", "mend the named line"],
    ),
    "an error in losses": (
        method(losses="raise KeyError('oh')"),
        "losses",
        ["mine.py, line 15: KeyError: 'oh'", "mend the named line"],
    ),
    "a refusal in losses": (
        method(losses="from imssl.errors import UserError; raise UserError('not today')"),
        "losses",
        ["mine.py, line 15: not today", "raise UserError in __init__ alone"],
    ),
    "an error in after_step": (
        method(more="def after_step(self, batch):\n        raise KeyError('oh')"),
        "batch unchanged",
        ["mine.py, line 21: KeyError: 'oh'", "mend the named line"],
    ),
    "an error in augmented": (
        method(more="def augmented(self, images, augmentation, generator):\n        raise KeyError('oh')"),
        "views",
        ["KeyError: 'oh'", "mend the named line"],
    ),
    "super forgotten": (
        method().replace("super().__init__(encoder, settings, training_set)", "pass"),
        "construction",
        ["AttributeError", "call super().__init__(encoder, settings, training_set) first in __init__"],
    ),
    "super without arguments": (
        method().replace("super().__init__(encoder, settings, training_set)", "super().__init__()"),
        "construction",
        ["TypeError", "call super().__init__(encoder, settings, training_set) with these three arguments"],
    ),
    "super after the head": (
        method()
        .replace("        super().__init__(encoder, settings, training_set)\n", "")
        .replace("16)", "16)\n        super().__init__(encoder, settings, training_set)"),
        "construction",
        ["call super().__init__(encoder, settings, training_set) first"],
    ),
    "labels": (
        method(losses="batch.labels"),
        "losses",
        ["has no attribute 'labels'", "a Batch has views, images, index", "There are no labels in it"],
    ),
    "a setting that is not there": (
        method(losses="self.settings.temperature"),
        "losses",
        ["temperature", "MethodSettings has no fields"],
    ),
    "a view of what lies channels last": (
        method(losses="batch.images.view(-1)"),
        "losses",
        ["mine.py, line 15: RuntimeError: view size", "lie channels last in memory: .reshape(...)"],
    ),
    "a number is logged": (
        method(losses='self.log("x", 1.0)'),
        "losses",
        ["mine.py, line 15", "log takes a scalar tensor", "torch.tensor(value)"],
    ),
    "a term called loss": (
        method(result='{"loss": loss}'),
        "losses",
        ["'loss' cannot be the name of a term", "letters, digits and _", "are taken", "→ rename it"],
    ),
    "a term with a blank": (
        method(result='{"my term": loss}'),
        "losses",
        ["'my term' cannot be the name of a term", "letters, digits and _", "→ rename it"],
    ),
    "no optimiser": (
        method(more=RETURNS_AN_OPTIMISER.format("None")),
        "optimiser",
        ["optimizer() gives NoneType", "returns a torch.optim.Optimizer"],
    ),
    "a dictionary of optimisers": (
        method(more=RETURNS_AN_OPTIMISER.format('{"encoder": torch.optim.SGD(self.parameters(), lr=0.1)}')),
        "optimiser",
        ["optimizer() gives dict", "returns a torch.optim.Optimizer"],
    ),
    "a negative learning rate": (
        method(
            more="def learning_rate_factor(self, optimisation, progress, group):\n"
            "        return 0.6 - progress"
        ),
        "optimiser",
        ["learning_rate_factor gives -0.05 at progress 0.65"],
    ),
    "NumPy in the extra state": (
        method(more=EXTRA_STATE),
        "resume",
        [
            "get_extra_state() of Mine['counts'][1] is numpy.float64",
            "tensors, numbers, text, None, and lists",
            "→ convert it in get_extra_state(): torch.tensor(...), float(), int() or .tolist()",
        ],
    ),
    "weights that are NaN in a later step": (
        method(more=NAN_LATER),
        "finite steps",
        ["NaN at step 4 of 6: loss_term", "guard divisions"],
    ),
    "a loss that is NaN in a later step": (
        method(result='{"loss_term": loss * (float("nan") if batch.step > 1 else 1.0)}'),
        "finite steps",
        ["NaN at step 3 of 6: loss_term", "guard divisions"],
    ),
    "a loss that is NaN once it is fitted": (
        method(
            losses="self.calls = getattr(self, 'calls', 0) + 1",
            result='{"loss_term": loss * (float("inf") if self.calls == 9 else 1.0)}',
        ),
        "learning",
        ["infinity at step 9 of 20", "guard divisions"],
    ),
    "a weights file": (
        method(init='self.load_state_dict(torch.load("resnet18.pth"))'),
        "construction",
        ["file: reads resnet18.pth", "encoder.weights in params.yaml"],
    ),
    "a weights file in safetensors": (
        method(init='import safetensors.torch; safetensors.torch.load_file("/data/w.safetensors")'),
        "construction",
        ["file: reads /data/w.safetensors", "encoder.weights in params.yaml"],
    ),
}
# These are seen in one rule only, so the rules before it need not be checked.
ALONE = {"NumPy in the extra state", "a loss that is NaN once it is fitted"}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_makes_one_row_that_says_what_to_do(copy, kind):
    content, check, words = MISTAKES[kind]
    request = {"rules": [check]} if kind in ALONE else {}
    _, out, err = copy.bench("check-method", copy.write("mine.py", content), "--json", **request)
    assert err == ""
    failed = [row for row in json.loads(out)["checks"] if row["status"] == "fail"]
    assert [row["name"] for row in failed] == [check]
    text = f"{failed[0]['found']} → {failed[0]['hint']}"
    assert [word for word in words if word not in text] == [], text


def test_a_module_beside_the_file_is_explained(copy):
    copy.write("my_parts.py", "WIDTH = 16\n")
    file = copy.write("mine.py", HEAD + "from my_parts import WIDTH\n")
    status, _, err = copy.bench("check-method", file, rules=["import"])
    assert status == 2
    assert "A method is one file: put what it needs of my_parts.py into it." in err


SMALL_REFUSED = """if training_set.{}:
            from imssl.errors import UserError
            raise UserError("too few")"""


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("batch_size < 8", "refused at 2 grey images of 16 px, 5 grey images"),
        ("batch_size < 40", "accepted for 50,000 images of 32 px, 64 in a step"),
        ("size < 90", "accepted for 1,000,000 images of 96 px"),
    ],
)
def test_a_size_that_is_refused_is_tried_larger(copy, condition, found):
    file = copy.write("mine.py", method(init=SMALL_REFUSED.format(condition)))
    rules = ["construction", "views", "losses"]
    status, out, err = copy.bench("check-method", file, "--json", rules=rules)
    checks = json.loads(out)["checks"]
    assert (status, {row["status"] for row in checks}) == (0, {"pass"}), (out, err)
    assert any(found in row["found"] for row in checks), out


def test_what_refuses_every_size_is_skipped_with_the_reason(copy):
    file = copy.write("mine.py", method(init=SMALL_REFUSED.format("images > 0")))
    status, out, _ = copy.bench("check-method", file, "--json", rules=["construction", "losses", "resume"])
    checks = json.loads(out)["checks"]
    assert (status, {row["status"] for row in checks}) == (0, {"skip"})
    assert "refused at every size that was tried: too few" in checks[0]["found"]

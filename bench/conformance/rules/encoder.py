"""Rules on the encoder: the network that is evaluated must be the one that every method was given."""

import torch

from bench.conformance.rule import Rule, Unmet
from bench.conformance.trial import ENCODER, Situation, Trial, take_steps, trial_images
from imssl.batch_norm import set_batch_norm_splits
from imssl.device import on_device
from imssl.encoder import Encoder, Features, build_encoder, new_encoder
from imssl.features import fingerprint
from imssl.method import Method

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_the_given_one(trial: Trial) -> str:
    """The encoder is the same object with the same layers, names and shapes, before and after training."""
    for channels in (1, 3):
        situation = trial.situation(channels, steps=3)
        method, encoder = trial.build(situation)
        given = new_encoder(ENCODER, channels, situation.seed)
        _compare(method, encoder, given, "__init__")
        if fingerprint(encoder) != fingerprint(given):
            raise Unmet("__init__ changes the encoder's initial weights")
        if trial.method.pretrains:
            method, encoder = _trained(trial, situation)
            _compare(method, encoder, given, "training")
    return "the given object; layers, names and shapes unchanged"


def gives_the_declared_features(trial: Trial) -> str:
    """A plain encoder with the trained weights, as stored and evaluated, gives the same features."""
    for channels in (1, 3):
        situation = trial.situation(channels, steps=3)
        encoder = _encoder_after(trial, situation)
        plain = build_encoder(ENCODER, channels)
        plain.load_state_dict(encoder.state_dict())
        on_device(plain, situation.device)
        images = trial_images(situation).float() / 255
        with torch.no_grad():
            features, expected = encoder.eval()(images), plain.eval()(images)
        if not isinstance(features, Features) or len(features.blocks) != len(expected.blocks):
            raise Unmet(f"the encoder gives {type(features).__name__}")
        for i, (block, plain_block) in enumerate(zip(features.blocks, expected.blocks, strict=True), start=1):
            if block.shape != plain_block.shape:
                raise Unmet(f"block {i} is {tuple(block.shape)}, not {tuple(plain_block.shape)}")
            if not torch.isfinite(block).all():
                raise Unmet(f"block {i} is not finite after training")
            if not torch.equal(block, plain_block):
                raise Unmet(f"block {i} differs from that of a plain encoder with the same weights")
    widths = ", ".join(str(width) for width in plain.block_widths)
    return f"four blocks of {widths} channels, grey and colour"


def is_still_in_evaluation(trial: Trial) -> str:
    """A pass in eval mode changes no weight or running statistic, and gives the same features again."""
    situation = trial.situation(steps=3)
    encoder = _encoder_after(trial, situation).eval()
    before = fingerprint(encoder)
    with torch.no_grad():
        first, second = (encoder(trial_images(situation).float() / 255).embedding for _ in range(2))
    if fingerprint(encoder) != before:
        raise Unmet("a pass in eval mode changed a weight or running statistic")
    if not torch.equal(first, second):
        raise Unmet("two passes in eval mode give different features")
    return "weights, statistics and features unchanged"


def _encoder_after(trial: Trial, situation: Situation) -> Encoder:
    encoder = _trained(trial, situation)[1] if trial.method.pretrains else trial.build(situation)[1]
    # As pretraining does at its end: the splits belong to training, not to the encoder.
    set_batch_norm_splits(encoder, 1)
    return encoder


def _trained(trial: Trial, situation: Situation) -> tuple[Method, Encoder]:
    training = trial.training(situation)
    given = training.method.encoder
    take_steps(training, situation, 3)
    return training.method, given


def _compare(method: Method, encoder: Encoder, given: Encoder, when: str) -> None:
    if method.encoder is not encoder:
        raise Unmet(f"self.encoder is another object after {when}")
    names = [(name, type(module)) for name, module in encoder.named_modules()]
    if names != [(name, type(module)) for name, module in given.named_modules()]:
        raise Unmet(f"the encoder has other layers after {when}")
    shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in given.state_dict().items()}:
        raise Unmet(f"the encoder's weights have other names or shapes after {when}")
    for name, module in encoder.named_modules():
        if "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS):
            raise Unmet(f"{name or 'the encoder'} carries a hook or another forward after {when}")


RULES = (
    Rule(
        "encoder",
        "the given one, not swapped, changed or hooked",
        "keep self.encoder as the base class sets it; put heads and decoders beside it",
        is_the_given_one,
        needs="encoder",
    ),
    Rule(
        "features",
        "four blocks of the declared widths, as a plain encoder gives them",
        "leave the encoder's forward and its layers alone",
        gives_the_declared_features,
        needs="encoder",
    ),
    Rule(
        "evaluation",
        "a pass in eval mode changes nothing",
        "no hooks, no dropout and no counting inside the encoder",
        is_still_in_evaluation,
        needs="encoder",
    ),
)

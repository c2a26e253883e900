"""Rules on what a method uses of the machine: files and processes, precisions, the GPU, the run's sizes."""

from dataclasses import replace

import torch

from bench.conformance.advice import advice_on_files
from bench.conformance.rule import NotApplicable, Rule, Unmet
from bench.conformance.rules.contract import leaves_the_suite_alone
from bench.conformance.trial import Situation, Trial, take_steps, trial_batch


def does_nothing_but_arithmetic(trial: Trial) -> str:
    """Nothing else was noted while the file was loaded and every other rule was checked."""
    events = trial.watch.seen
    naming = [rule for rule, reason in trial.unmet.items() if any(event in reason for event in events)]
    unnamed = [event for event in events if not any(event in trial.unmet[rule] for rule in naming)]
    if unnamed:
        seen = "; ".join(unnamed[:4])
        raise Unmet(seen, advice_on_files(seen))
    if naming:
        raise NotApplicable(f"what was seen stands in the row {' and '.join(naming)}")
    return "none seen"


def runs_in_bfloat16(trial: Trial) -> str:
    """Losses and gradients stay finite under bfloat16 autocast."""
    return _steps_under(trial, trial.situation(), "bfloat16")


def runs_on_the_gpu(trial: Trial) -> str:
    """Losses and gradients stay finite on the GPU, for two steps in each precision."""
    if not torch.cuda.is_available():
        raise NotApplicable("torch finds no GPU here")
    situation = replace(trial.situation(), device=torch.device("cuda"))
    for precision in ("float32", "bfloat16"):
        _steps_under(trial, situation, precision)
    return f"finite on {torch.cuda.get_device_name()}"


def runs_at_the_runs_size(trial: Trial) -> str:
    """One step on as many images as in a step of params.yaml, of the size and colour of each data set."""
    if not trial.run_situations:
        raise NotApplicable("there is no params.yaml here")
    for situation in trial.run_situations:
        training = trial.training(situation)
        take_steps(training, situation, 1)
    return ", ".join(dict.fromkeys(situation.in_words for situation in trial.run_situations))


def _steps_under(trial: Trial, situation: Situation, precision: str) -> str:
    training = trial.training(situation)
    for step in range(2):
        batch = trial_batch(training.method, situation, step)
        training.take_step(batch, precision)
        broken = [name for name, total in training.epoch_sums.items() if not torch.isfinite(total)]
        gradients = [weight.grad for weight in training.method.parameters() if weight.grad is not None]
        if broken or not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise Unmet(f"{broken[0] if broken else 'a gradient'} is not finite in {precision}")
    return "losses and gradients finite"


RULES = (
    Rule(
        "bfloat16",
        "finite under bfloat16 autocast",
        "compute sums, logarithms and norms of the loss in float32: tensor.float()",
        runs_in_bfloat16,
    ),
    Rule(
        "GPU",
        "two steps on the GPU, finite",
        "create tensors on batch.images.device; draw on the CPU, then move what was drawn",
        runs_on_the_gpu,
    ),
    Rule(
        "run's size",
        "a step of params.yaml's batch and image sizes",
        "raise UserError in __init__ where the settings do not fit",
        runs_at_the_runs_size,
    ),
    Rule(
        "surroundings",
        "imssl, bench, torch and the environment are as they were, also after training",
        "replace no function and change no setting of other code; put your own version into your file",
        leaves_the_suite_alone,
        needs="file",
    ),
    Rule(
        "files, network, processes",
        "none, nor labels, while it is loaded, built and trained",
        "leave files, network, processes and other code's variables alone",
        does_nothing_but_arithmetic,
        needs="file",
    ),
)

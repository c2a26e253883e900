"""Rule on several processes: a method that is trained by two of them computes what it computes in one.

A user who raises ``hardware.devices`` must get the same method, faster. What the loop shares out does not
show in a method's file, so a file that keeps to the contract passes without having heard of it.
"""

import multiprocessing
import os
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from bench.conformance.loading import as_row, at_fault, load_class, load_settings, place_of
from bench.conformance.method_source import MethodSource
from bench.conformance.rule import NotApplicable, Rule, Unmet
from bench.conformance.surroundings.watch import Watch
from bench.conformance.trial import CPU, Situation, Trial, take_steps
from bench.machine.system import start_method
from imssl.distributed import joined
from imssl.pretrain import Training

PROCESSES, STEPS = 2, 2
# Long enough for a slow step; processes that wait for one another wait for ever.
SECONDS = 120.0
# What rounding in another order may do to a loss, and to a gradient, as a share of it: with 256 images of 64
# px it moves SimCLR's gradient by 2% to 4%. What is looked for are factors: a term that is left out, or a
# gradient that is off by the number of processes. In float64 it is off by 1e-13, but a method may draw in
# float32, which does not mix with that.
OF_LOSS, OF_GRADIENT = 1e-3, 1e-1


@dataclass(frozen=True)
class Trained:
    """What a process has come to.

    Attributes:
        losses: sum of the terms of each step.
        gradient: of the encoder in the first step, all weights in a row.
    """

    losses: list[float]
    gradient: np.ndarray


def alike_on_two_processes(trial: Trial) -> str:
    """Losses of two steps and the first gradient are those of one process."""
    batch_size = trial.scale.batch_size + trial.scale.batch_size % PROCESSES
    situation = trial.situation(batch_size=batch_size, steps=STEPS)
    alone = _trained(trial.training(situation), situation)
    together = _trained_together(trial, situation)
    # In the order in which one follows from the other: an error in a gradient shows in the next loss.
    _refuse_other_losses(alone, together, step=1)
    _refuse_another_gradient(alone, together)
    for step in range(2, STEPS + 1):
        _refuse_other_losses(alone, together, step)
    return f"the same losses and gradient on 1 and {PROCESSES} processes"


def _refuse_other_losses(alone: Trained, together: list[Trained], step: int) -> None:
    expected = alone.losses[step - 1]
    for number, trained in enumerate(together, start=1):
        loss = trained.losses[step - 1]
        if not abs(loss - expected) <= OF_LOSS * max(1.0, abs(expected)):
            raise Unmet(
                f"the loss of step {step} is {expected:.6g} on one process, and {loss:.6g} on process "
                f"{number} of {PROCESSES}"
            )


def _refuse_another_gradient(alone: Trained, together: list[Trained]) -> None:
    length = float(np.linalg.norm(alone.gradient))
    for trained in together:
        apart = float(np.linalg.norm(trained.gradient - alone.gradient))
        if not apart <= OF_GRADIENT * length:
            raise Unmet(
                f"the encoder's gradient on {PROCESSES} processes is off by {apart / length:.0%} of its norm"
            )


def _trained(training: Training, situation: Situation) -> Trained:
    losses: list[float] = []
    gradient = np.zeros(0)
    for step in range(STEPS):
        before = float(training.epoch_sums.get("loss", 0.0))
        take_steps(training, situation, step + 1)
        losses.append(float(training.epoch_sums["loss"]) - before)
        if step == 0:
            weights = training.method.encoder.parameters()
            gradients = [weight.grad.flatten() for weight in weights if weight.grad is not None]
            gradient = torch.cat(gradients).double().numpy() if gradients else gradient
    return Trained(losses, gradient)


def _trained_together(trial: Trial, situation: Situation) -> list[Trained]:
    # A fork is fast, but autograd does not survive one where it has started threads for a GPU.
    context: Any = multiprocessing.get_context("spawn" if torch.cuda.is_available() else start_method())
    with tempfile.TemporaryDirectory() as folder:
        connections, children = [], []
        for rank in range(PROCESSES):
            here, there = context.Pipe(duplex=False)
            arguments = (there, trial.source, as_row(trial.settings), situation, Path(folder), rank)
            child = context.Process(target=_take_part, args=arguments, daemon=True)
            # Other rules look at what the method does beyond arithmetic; here torch opens connections.
            with trial.watch.paused():
                child.start()
            there.close()
            connections.append(here)
            children.append(child)
        try:
            return [_received(connection) for connection in connections]
        finally:
            for child in children:
                child.kill()
                child.join()


def _received(connection: Connection) -> Trained:
    try:
        answer = connection.recv() if connection.poll(SECONDS) else None
    except EOFError:
        raise Unmet("a process ended without an answer") from None
    if answer is None:
        raise Unmet(f"{PROCESSES} processes were not done after {SECONDS:.0f} s: they wait for one another")
    if isinstance(answer, Exception):
        raise answer
    return answer


def _take_part(
    connection: Connection,
    source: MethodSource,
    row: dict[str, Any],
    situation: Situation,
    folder: Path,
    rank: int,
) -> None:
    _be_silent()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with joined(CPU, store=dist.FileStore(str(folder / "store"), PROCESSES), number=PROCESSES, rank=rank):
            # Run again: two processes share no variables of the file's module.
            method = load_class(source)
            trial = Trial(source, method, load_settings(method, "", row), Watch(place_of(source)), {})
            connection.send(_trained(trial.training(situation), situation))
    except (Unmet, NotApplicable) as error:
        connection.send(error)
    except (Exception, SystemExit) as error:
        connection.send(Unmet(at_fault(error, source)))


def _be_silent() -> None:
    """Print nothing: the parent counts what the method prints, and has seen it already."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


RULES = (
    Rule(
        "several processes",
        "two processes that share the batch come to the loss and the gradient of one",
        "compute with the whole batch, which every process is given; call self.encoder, and give a process's "
        "part of a batch to another network only between share() and gather() of imssl.distributed",
        alike_on_two_processes,
    ),
)

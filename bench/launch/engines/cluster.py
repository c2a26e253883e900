"""cluster.yaml: what a run asks a cluster for. It changes no number, so it is no part of the protocol.

cells_per_gpu: 4          # small images leave room on a GPU
memory_gib: 8
ray:
address: 10.0.0.1:6379  # none: Ray is started on this machine
slurm:
partition: gpu
gres: gpu:1
minutes: 240
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from bench.protocol.params_file import explain, read_params
from imssl.errors import UserError
from imssl.settings.base import Settings

CLUSTER = Path("cluster.yaml")

Text = Annotated[str, Field(min_length=1)]


class RaySettings(Settings):
    """A cluster of Ray.

    Attributes:
        address: of its head, such as ``10.0.0.1:6379`` or ``auto``; None to start Ray on this machine.
    """

    address: Text | None = None


class SlurmSettings(Settings):
    """What each job asks Slurm for; what is not given is left to Slurm.

    Attributes:
        partition: name.
        account: that is charged.
        qos: quality of service.
        constraint: features of nodes.
        gres: generic resources of cells that compute on a GPU, such as ``gpu:1``; of each device where
            several pretrain one encoder together.
        exclude: nodes not to use.
        minutes: time limit of a job. A cell that needs longer is requeued with its checkpoint.
        signal_seconds: how long before the limit, or a preemption, a job is asked to save its checkpoint.
        at_once: jobs in the queue at a time.
        setup: lines of shell before a job, such as ``module load cuda``.
        additional: further options of sbatch, by their long name without the hyphens.
        executor: ``local`` runs the jobs as processes of this machine, to try a file without a cluster.
    """

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    gres: Text | None = None
    exclude: Text | None = None
    minutes: int = Field(default=240, ge=1)
    signal_seconds: int = Field(default=90, ge=1)
    at_once: int = Field(default=1000, ge=1)
    setup: tuple[str, ...] = ()
    additional: dict[str, str | int] = Field(default_factory=dict)
    executor: Literal["slurm", "local"] = "slurm"


class ClusterSettings(Settings):
    """What a run asks a cluster for.

    Attributes:
        cells_per_gpu: how many share one; None for four with small images, otherwise one.
        memory_gib: of each cell; None to ask for none.
        ray: see there.
        slurm: see there.
    """

    cells_per_gpu: int | None = Field(default=None, ge=1, le=64)
    memory_gib: float | None = Field(default=None, gt=0)
    ray: RaySettings = RaySettings()
    slurm: SlurmSettings = SlurmSettings()


def read_cluster(path: Path = CLUSTER) -> ClusterSettings:
    """Read cluster.yaml; where there is none, everything is left to the engine.

    Raises:
        UserError: it is not YAML, or holds a value that is not allowed.
    """
    if not path.exists():
        return ClusterSettings()
    content = read_params(path)
    try:
        return ClusterSettings.model_validate(dict(content))
    except ValidationError as error:
        raise UserError(explain(error, content, str(path))) from None

"""The starting file that ``bench new-method`` writes: a small method that passes every check."""

from bench.protocol.registry import file_name_of

TEMPLATE = '''"""{title}: say in one line what the method does (authors, year, section).

This file is a working start: two views of an image must get similar projections, and the components of a
projection must not be redundant (Barlow Twins, Zbontar et al. 2021). Put your own idea in its place.

    bench check-method {file}     what is expected of a method, and whether this one does it
    bench add-method {file}       check it, and add it to the comparison
"""

from pydantic import Field

from imssl.encoder import Encoder
from imssl.heads import batch_norm_mlp
from imssl.losses import barlow_twins
from imssl.method import Batch, Losses, Method, MethodSettings, TrainingSet


class {class_name}Settings(MethodSettings):
    """Hyper-parameters: typed fields with a default and their bounds; params.yaml sets them.

    Attributes:
        projection: width of the projector's two layers.
        off_diagonal: weight of the redundancy term.
    """

    projection: int = Field(default=128, ge=2)
    off_diagonal: float = Field(default=0.0051, ge=0)


class {class_name}(Method):
    """A method file defines exactly one subclass of Method."""

    settings_class = {class_name}Settings
    settings: {class_name}Settings

    def __init__(
        self, encoder: Encoder, settings: {class_name}Settings, training_set: TrainingSet
    ) -> None:
        super().__init__(encoder, settings, training_set)
        # self.encoder is the network that is pretrained and evaluated; put whatever else you need beside it.
        # Weights and buffers created here are saved and restored automatically. Initial weights come from
        # torch's default generator, which is seeded for the run while __init__ runs.
        self.projector = batch_norm_mlp(encoder.width, settings.projection, settings.projection)

    def losses(self, batch: Batch) -> Losses:
        """Terms of the loss by name, each a scalar with gradient; their sum is minimised.

        batch.views are the augmented images, (B, C, H, W) each; batch.images are the same images without
        augmentation; use batch.generator for all random draws of your own. There are no labels.
        """
        # An encoder returns Features: .embedding (B, D) is the pooled last block; .pooled(i) and .block(i)
        # are block i = 1 to 4, pooled (B, C_i) and as a map (B, C_i, H_i, W_i).
        first, second = (self.projector(self.encoder(view).embedding) for view in batch.views)
        return {{"barlow": barlow_twins(first, second, 1.0, self.settings.off_diagonal)}}

    # Define these where you need them; otherwise the defaults of Method apply:
    #   view_count = 2                          augmented views of an image
    #   augmented(images, augmentation, generator)             views of your own
    #   optimizer(optimisation)                 an optimiser or parameter groups of your own
    #   learning_rate_factor(optimisation, progress, group)    a schedule of your own
    #   partners(index, generator)              other images to see views of, such as the same patient's
    #   before_step(batch)                      between gradient and step: clipping, weights that rest
    #   after_step(batch)                       momentum updates, queues, prototypes
    #   after_epoch(epoch, clean_batches)       a pass over the images without augmentation
    #   get_extra_state(), set_extra_state(state)              what else a resumed run needs
'''


def starting_file(name: str) -> tuple[str, str]:
    """Name and text of the file from which a new method starts.

    Args:
        name: id of the method, such as ``my-method``.
    """
    words = name.split("-")
    class_name = "".join(word.capitalize() for word in words)
    file = file_name_of(name)
    text = TEMPLATE.format(title=" ".join(words).capitalize(), file=file, class_name=class_name)
    return file, text

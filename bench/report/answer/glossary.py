"""What the words on the pages mean, and where they stand in a text, so that they are explained there."""

import re
from functools import cache

from markupsafe import Markup, escape

from bench.report.material.wording import CORRECTION

# A term may be written in several ways; the first is its name.
TERMS: dict[tuple[str, ...], str] = {
    ("AUROC", "AUROCs"): (
        "Area under the receiver operating characteristic curve: the probability that an image with the "
        "class gets a higher score than one without it. 0.5 is chance, 1 is perfect. “Macro” averages it "
        "over the classes."
    ),
    ("average precision",): (
        "Area under the curve of precision against recall. Chance gets the prevalence of the class, so it "
        "compares within one data set only."
    ),
    ("baseline",): ("The method that all others are compared with; params.yaml names it (report.baseline)."),
    ("block", "blocks"): (
        "One of the four stages of a ResNet, or a quarter of another encoder: 1 is nearest to the image."
    ),
    ("Brier score",): ("Mean squared difference of predicted probability and outcome; lower is better."),
    ("calibration error",): (
        "How far predicted probabilities are from frequencies, averaged over bins; lower is better."
    ),
    ("cell", "cells"): (
        "The smallest part of a run: one stage for one data set, one method, one seed and, where it has "
        "some, one label set."
    ),
    ("CKA",): (
        "Centred kernel alignment: how alike two sets of features of the same images are, whatever their "
        "rotation and scale. 0 is unrelated, 1 is alike (Kornblith et al. 2019)."
    ),
    (CORRECTION,): (
        "A p held against the largest difference that chance brings to a table of so many methods and "
        "columns: if nothing differs, the chance that any is below 5% (1 minus the level of the report) is "
        "at most that."
    ),
    ("fine-tuning", "fine-tuned", "fine-tune"): (
        "Training all weights, those of the pretrained encoder included, on labelled images."
    ),
    ("frozen encoder",): ("The pretrained encoder as it is: only what stands on top of it is trained."),
    ("interquartile mean",): (
        "Mean of the middle half of all scores: the lowest and the highest quarter are left out, so that "
        "a few runs cannot decide (Agarwal et al. 2021)."
    ),
    ("interval", "intervals"): (
        "The values that agree with the data: were the run repeated with other test patients and seeds, "
        "95 of 100 such intervals (or what the level of the report says) would hold the truth."
    ),
    ("jackknife",): ("An uncertainty from leaving out one patient at a time."),
    ("Kolmogorov–Smirnov distance", "KS distance", "KS"): (
        "The largest gap between two distribution functions: 0 where they are alike, 1 where they do not "
        "overlap."
    ),
    ("label set", "label sets"): (
        "How many labels a model may use: a share of the training images, or so many of each class."
    ),
    ("linear probe", "linear probes", "probe", "probes"): (
        "A linear classifier on the pooled features of one block of the frozen encoder: what that block "
        "knows of the classes."
    ),
    ("mean rank",): ("Mean place of a method among those of the run: 1 is best."),
    ("mean score", "mean scores"): (
        "Mean of the primary metrics over data sets and label sets, each scaled so that 0 is chance and 1 "
        "is perfect. The leaderboard is in its order."
    ),
    ("nearest neighbours", "nearest-neighbour", "kNN"): (
        "A class is predicted by a vote of the labelled images whose features are nearest; nothing is "
        "trained."
    ),
    ("null",): ("What a statistic would be if nothing were there, here after permuting the images."),
    ("p", "p-value"): ("Probability of a difference at least so large if there were none."),
    ("pooled features",): ("The mean of a block's features over all places of the image."),
    ("prevalence",): ("Share of the test images with the class."),
    ("primary metric", "primary metrics"): (
        "The metric by which a data set is judged; its data card names it."
    ),
    ("quadratic weighted kappa",): (
        "Agreement of predicted and true grades beyond chance; errors count by the square of their size. "
        "0 is chance, 1 is perfect."
    ),
    ("reference", "references"): (
        "A row that the methods are measured against, such as random weights; it is not ranked."
    ),
    ("resamples", "resample", "resampled"): (
        "Test patients drawn anew with replacement, to see how much the numbers depend on who was tested "
        "(bootstrap)."
    ),
    ("seed", "seeds"): (
        "The number from which all draws of a run follow: initial weights, order of the images, labels "
        "that are used."
    ),
    ("synthetic", "procedural"): (
        "Drawn by a program: such images test the pipeline and say nothing about medicine."
    ),
    ("test patients", "test patient"): ("Patients whose images no model was trained or chosen on."),
}


def name_of(names: tuple[str, ...]) -> str:
    """The id of a term on a page."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", names[0].lower()).strip("-")


def glossed(text: str) -> Markup:
    """A text in which the first mention of each term is a button that shows what it means.

    Args:
        text: plain, which is escaped; or Markup, whose tags are left alone, and all within links, headings of
            code and buttons.
    """
    pieces: list[str] = []
    seen: set[str] = set()
    closed = 0
    for piece in re.split(r"(<[^>]*>)", str(escape(text))):
        if piece.startswith("<"):
            if re.match(r"<(a|code|button)\b", piece):
                closed += 1
            elif re.match(r"</(a|code|button)\b", piece):
                closed -= 1
            pieces.append(piece)
        else:
            pieces.append(piece if closed else _marked(piece, seen))
    return Markup("".join(pieces))


def _marked(piece: str, seen: set[str]) -> str:
    def button(match: re.Match[str]) -> str:
        term = _names()[_plain(match[0])]
        if term in seen:
            return match[0]
        seen.add(term)
        return f'<button type="button" class="term" popovertarget="{term}">{match[0]}</button>'

    return _pattern().sub(button, piece)


@cache
def _names() -> dict[str, str]:
    return {_plain(spelling): name_of(names) for names in TERMS for spelling in names}


def _plain(spelling: str) -> str:
    """Capitals matter in “KS” and “p”, and not at the start of a sentence."""
    text = spelling.replace("&#39;", "'")
    return text if len(text) < 4 else text.lower()


@cache
def _pattern() -> re.Pattern[str]:
    spellings = sorted((spelling for names in TERMS for spelling in names), key=len, reverse=True)
    written = [re.escape(str(escape(spelling))) for spelling in spellings]
    words = [
        word if len(spelling) < 4 else f"(?i:{word})"
        for word, spelling in zip(written, spellings, strict=True)
    ]
    # “p = 0.01” and “p-value”, but not a letter of another word, of a method's name or of a path.
    return re.compile(rf"(?<![\w/.&;-])(?:{'|'.join(words)})(?![\w/-]|\.\w)")

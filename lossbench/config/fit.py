"""Whether the parts of a run fit each other, as far as their declarations tell.

Only facts are compared; no data are read and no component is known by name. What shapes and data
decide is seen when the job is built.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from lossbench.components.declarations import DatasetFacts, LossFacts
from lossbench.components.vocabulary import FITS, Target, TargetKind
from lossbench.config.blocks import Read
from lossbench.config.defaults import COMPONENTS, METRICS
from lossbench.config.problems import Problems
from lossbench.config.spec import DatasetOptions, TrainSpec
from lossbench.config.yaml import Node
from lossbench.errors import Place, listed, suggest
from lossbench.registry import dataset as datasets
from lossbench.registry import loss as losses
from lossbench.registry import metric as metrics

SHOWN = 12
"""So many of the names that fit are listed in an error."""

_WITH_PROBABILITIES = ("logits", "log_probabilities", "probabilities", "raw")

OF_A_TASK = {
    "embedding": "an embedding, which is no prediction of a target",
    "boxes": "boxes",
    "image": "images",
}
"""Predictions that a network behind a data set's inputs does not give, in words."""

_KINDS: dict[TargetKind, str] = {
    "real": "real numbers",
    "count": "counts",
    "class": "classes",
    "multilabel": "sets of labels",
    "distribution": "a probability for each class",
    "objective": "the minimum of a function",
}


def target_kind(dataset: Read | None) -> TargetKind | None:
    """Return the kind of a dataset's targets, none where only the data tell."""
    if dataset is None:
        return None
    facts: DatasetFacts = dataset.entry.facts
    return facts.target.kind if isinstance(facts.target, Target) else facts.target


def target_size(dataset: Read | None) -> int:
    """Return the size of a dataset's targets, 1 where only its knobs or the data tell."""
    target = None if dataset is None else dataset.entry.facts.target
    return target.size if isinstance(target, Target) else 1


def default_metrics(kind: TargetKind | None, size: int = 1) -> tuple[str, ...]:
    """Return the metrics of a run that names none, by the kind and size of its targets."""
    names = METRICS.get(kind, ()) if kind else ()
    return tuple(n for n in names if n in metrics and metrics[n].facts.least_size <= size)


def default_component(kind: str, dataset: Read | None) -> str | None:
    """Return the component of a run that names none of this kind; none where there is no default.

    A dataset that brings what is trained says itself which network stands for it.
    """
    brought = dataset.entry.facts.network if dataset is not None and kind == "network" else None
    return brought or COMPONENTS.get(kind)


def with_batch_size(train: TrainSpec, dataset: Read | None) -> TrainSpec:
    """Give a run that names no batch size the one that its dataset asks for, if it does."""
    size = None if dataset is None else dataset.entry.facts.batch_size
    return train if size is None else replace(train, batch_size=size)


def check_network(dataset: Read | None, network: Read | None, problems: Problems) -> None:
    """Note where a network stands on a dataset that brings its own, or the other way round."""
    if dataset is None or network is None:
        return
    brought, name = dataset.entry.facts.network, network.entry.name
    if brought not in (None, name):
        problems.add(
            network.node.place,
            f"network '{name}' cannot be trained on dataset '{dataset.entry.name}', which brings "
            "the point that is to be trained",
            f"leave the network out, or write network: {brought}",
        )
    elif brought is None and network.entry.facts.brought and dataset.entry.facts.target is not None:
        fitting = [other for other, entry in datasets.items() if entry.facts.network == name]
        problems.add(
            network.node.place,
            f"network '{name}' stands for the point of a problem, and dataset "
            f"'{dataset.entry.name}' brings none",
            f"data sets that bring one: {', '.join(fitting)}",
        )


def check_fit(
    dataset: Read | None, loss: Read | None, chosen: Sequence[Read], problems: Problems
) -> None:
    """Note where loss, metrics and the dataset's options do not suit the dataset's targets."""
    kind = target_kind(dataset)
    if kind is None or dataset is None:
        return
    if loss is not None:
        _check_loss(dataset, kind, loss, problems)
    for metric in chosen:
        _check_metric(dataset, kind, loss, metric, problems)
    _check_options(dataset, kind, problems)


def fitting_losses(kind: TargetKind) -> list[str]:
    """Return the names of the losses that take a kind of target."""
    return [name for name, entry in losses.items() if _takes(entry.facts, kind)]


def _takes(facts: LossFacts, kind: TargetKind) -> bool:
    supervised = not facts.inputs and facts.prediction not in OF_A_TASK
    return supervised and any(encoding in FITS[kind] for encoding in facts.encodings)


def _check_loss(dataset: Read, kind: TargetKind, loss: Read, problems: Problems) -> None:
    if _takes(loss.entry.facts, kind):
        return
    fitting = f"losses that fit: {_some(fitting_losses(kind))}"
    if loss.entry.facts.inputs:
        problems.add(
            loss.node.place,
            f"loss '{loss.entry.name}' compares {listed(loss.entry.facts.inputs)}, and dataset "
            f"'{dataset.entry.name}' gives inputs with targets",
            fitting,
        )
        return
    given = loss.entry.facts.prediction
    if given in OF_A_TASK:
        problems.add(
            loss.node.place,
            f"loss '{loss.entry.name}' judges {OF_A_TASK[given]}, and dataset "
            f"'{dataset.entry.name}' asks for {_KINDS[kind]}",
            fitting,
        )
        return
    wants = [other for other in FITS if _takes(loss.entry.facts, other)]
    problems.add(
        loss.node.place,
        f"loss '{loss.entry.name}' is for {_join(wants)}, and the targets of dataset "
        f"'{dataset.entry.name}' are {_KINDS[kind]}",
        fitting,
    )


def _check_metric(
    dataset: Read, kind: TargetKind, loss: Read | None, metric: Read, problems: Problems
) -> None:
    facts = metric.entry.facts
    if kind not in facts.target:
        fitting = [name for name, entry in metrics.items() if kind in entry.facts.target]
        problems.add(
            metric.node.place,
            f"metric '{metric.entry.name}' is for {_join(facts.target)}, and the targets of "
            f"dataset '{dataset.entry.name}' are {_KINDS[kind]}",
            f"metrics that fit: {closest(metric.entry.name, fitting)}",
        )
    elif isinstance(dataset.entry.facts.target, Target) and facts.least_size > target_size(dataset):
        problems.add(
            metric.node.place,
            f"metric '{metric.entry.name}' needs {facts.least_size} values per target, and dataset "
            f"'{dataset.entry.name}' has {target_size(dataset)}",
        )
    elif (
        facts.prediction == "probabilities" and loss is not None and _takes(loss.entry.facts, kind)
    ):
        given = loss.entry.facts.prediction_with(loss.choice.knobs)
        if given not in _WITH_PROBABILITIES:
            problems.add(
                metric.node.place,
                f"metric '{metric.entry.name}' needs probabilities, and a network trained on "
                f"loss '{loss.entry.name}' gives none",
                f"leave it out, or take a loss of {_join_words(_WITH_PROBABILITIES[:3])}",
            )


def _check_options(dataset: Read, kind: TargetKind, problems: Problems) -> None:
    options = dataset.choice.options
    if not isinstance(options, DatasetOptions):
        return
    given = dataset.node.mapping or {}
    if options.label_noise and kind != "class":
        problems.add(
            given["label_noise"].place,
            f"dataset.label_noise replaces classes by others, and the targets of "
            f"'{dataset.entry.name}' are {_KINDS[kind]}",
            "for real targets, many datasets have a knob 'noise'",
        )
    if options.standardize and kind == "objective":
        problems.add(
            given["standardize"].place,
            f"dataset.standardize would change '{dataset.entry.name}', whose minimum is known",
            "leave it out",
        )
    if options.standardize_target and kind != "real":
        problems.add(
            given["standardize_target"].place,
            f"dataset.standardize_target is for real targets, and those of "
            f"'{dataset.entry.name}' are {_KINDS[kind]}",
        )


def check_recorded(
    train: TrainSpec, train_node: Node | None, chosen: Iterable[Read], problems: Problems
) -> None:
    """Note where `monitor` or early stopping watches a value that the run does not record."""
    recorded = ["train/loss", "validation/loss"]
    directed = [m for m in chosen if m.entry.facts.lower_is_better is not None]
    recorded += [f"validation/{metric.choice.name}" for metric in directed]
    keys = (train_node.mapping or {}) if train_node is not None else {}
    if train.monitor is not None:
        _check_name(train.monitor, keys.get("monitor"), "train.monitor", recorded, problems)
    if train.early_stopping is not None:
        block = keys.get("early_stopping")
        node = (block.mapping or {}).get("metric") if block is not None else None
        label = "train.early_stopping.metric"
        _check_name(train.early_stopping.metric, node, label, recorded, problems)


def _check_name(
    name: str, node: Node | None, label: str, recorded: list[str], problems: Problems
) -> None:
    if name in recorded:
        return
    hint = suggest(name, recorded)
    unlisted = name.partition("/")[2] or name
    place = node.place if node is not None else Place()
    if unlisted in metrics and metrics[unlisted].facts.lower_is_better is None:
        message = f"{label}: no value of '{name}' is better than another"
        problems.add(place, message, f"valid: {', '.join(recorded)}")
        return
    if unlisted in metrics and f"validation/{unlisted}" not in recorded:
        hint = f"add it to the metrics: metrics: [{unlisted}]"
    problems.add(place, f"{label}: '{name}' is not recorded by this run", hint)


def _some(names: Sequence[str]) -> str:
    """Return names of losses in a line: those that torch ships first, for they are best known."""
    ordered = sorted(names, key=lambda name: (losses[name].kernel is None, name))
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return (", ".join(ordered[:SHOWN]) + more) or "none"


def closest(given: str, names: Iterable[str]) -> str:
    """Return the names in a line, those that look most like the given one first."""

    def likeness(name: str) -> tuple[float, str]:
        return -difflib.SequenceMatcher(None, given, name).ratio(), name

    ordered = sorted(names, key=likeness)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return (", ".join(ordered[:SHOWN]) + more) or "none"


def _join(kinds: Iterable[Any]) -> str:
    return _join_words([_KINDS[kind] for kind in kinds]) or "no kind of target that data have"


def _join_words(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))

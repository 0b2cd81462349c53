"""What layers, networks, data sets and metrics promise: shapes, repeatability, a direction."""

from collections.abc import Iterator
from typing import Any

from lossbench.checks.contracts import BrokenError, SkippedError, contract
from lossbench.checks.knobs import first_knobs
from lossbench.checks.numbers import number, require_close
from lossbench.components.declarations import DatasetFacts, LayerFacts, MetricFacts, NetworkFacts
from lossbench.components.samples import CLASSES, Draw
from lossbench.components.vocabulary import Data, FilePath, Samples, Target
from lossbench.config.annotations import mark
from lossbench.errors import LossbenchError
from lossbench.lazy import Tensor, nn, np, torch
from lossbench.registry import Entry, activation

SAMPLE_SHAPES = {1: (8,), 2: (8, 9), 3: (8, 9, 9), 4: (8, 9, 9, 9)}
"""A sample for each number of dimensions behind the batch."""

BATCH = 6


# --- layers and networks ----------------------------------------------------------------------


def _layers(entry: Entry[LayerFacts]) -> Iterator[tuple[tuple[int, ...], nn.Module, Any]]:
    """Build the layer on a sample of every number of dimensions that it takes."""
    knobs = first_knobs(entry)
    for dimensions in entry.facts.dimensions or tuple(SAMPLE_SHAPES):
        shape = SAMPLE_SHAPES[dimensions]
        torch.manual_seed(0)
        module, behind = entry.function(shape, **knobs)
        yield shape, module, behind


@contract("layer")
def shape(entry: Entry[LayerFacts]) -> None:
    """What comes out has the shape that is promised, and is finite."""
    for sample, module, behind in _layers(entry):
        module.eval()
        found = module(Draw().real(BATCH, *sample))
        if tuple(found.shape[1:]) != tuple(behind):
            raise BrokenError(f"{sample} becomes {tuple(found.shape[1:])}, promised is {behind}")
        if not bool(torch.isfinite(found).all()):
            raise BrokenError(f"a value is not finite for an input of {sample}")


@contract("layer")
def batch(entry: Entry[LayerFacts]) -> None:
    """In training a sample depends on the others only where that is declared."""
    if entry.facts.noisy:
        raise SkippedError("draws noise in training")
    for sample, module, _ in _layers(entry):
        module.train()
        x = Draw().real(BATCH, *sample)
        whole, part = module(x), module(x[:3])
        depends = not torch.allclose(whole[:3], part, rtol=1e-4, atol=1e-5)
        if depends != entry.facts.batch_statistics:
            declared = "" if entry.facts.batch_statistics else "not "
            raise BrokenError(f"declared {declared}to look at the batch")


def _activation(shape: tuple[int, ...]) -> "tuple[nn.Module, tuple[int, ...]]":
    """Return an activation for a place in a network, and the shape behind it."""

    class Place(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return activation["tanh"].function(x)

    return Place(), shape


def _network(entry: Entry[NetworkFacts], inputs: tuple[int, ...], outputs: int) -> nn.Module:
    if entry.facts.brought:
        raise SkippedError("stands for a module that a data set brings")
    missing = [knob.name for knob in entry.knobs if knob.required]
    if missing:
        raise SkippedError(f"nothing can be guessed for {', '.join(missing)}")
    torch.manual_seed(0)
    made: nn.Module = entry.function(inputs, outputs, _activation, **entry.defaults())
    return made


def _network_inputs(entry: Entry[NetworkFacts]) -> list[tuple[int, ...]]:
    if entry.facts.inputs == "image":
        return [(1, 12, 12)]
    return [(1, 8, 8, 8)] if entry.facts.inputs == "volume" else [(5,), (1, 8, 8)]


@contract("network")
def outputs(entry: Entry[NetworkFacts]) -> None:
    """It gives as many finite outputs as it is asked for, for inputs of any shape it takes."""
    for inputs in _network_inputs(entry):
        for count in (1, 3):
            found = _network(entry, inputs, count).eval()(Draw().real(BATCH, *inputs))
            places = inputs[1:] if entry.facts.dense else ()
            if tuple(found.shape) != (BATCH, count, *places):
                raise BrokenError(
                    f"{count} outputs are asked for, a batch gives {list(found.shape)}"
                )
            if not bool(torch.isfinite(found).all()):
                raise BrokenError("an output is not finite")


@contract("network")
def seed(entry: Entry[NetworkFacts]) -> None:
    """The same seed gives the same weights."""
    for inputs in _network_inputs(entry):
        one, other = (_network(entry, inputs, 2).state_dict() for _ in range(2))
        for name, tensor in one.items():
            if not torch.equal(tensor, other[name]):
                raise BrokenError(f"{name} differs between two networks of one seed")


@contract("network")
def learning(entry: Entry[NetworkFacts]) -> None:
    """Every parameter has a finite gradient, for one network and for several under `vmap`."""
    for inputs in _network_inputs(entry):
        network = _network(entry, inputs, 2)
        x = Draw().real(BATCH, *inputs)
        network(x).square().sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is None or not bool(torch.isfinite(parameter.grad).all()):
                raise BrokenError(f"the gradient of {name} is missing or not finite")
        network.eval()
        weights = {n: t.detach() for n, t in network.state_dict().items()}
        stacked = {name: torch.stack([tensor, tensor]) for name, tensor in weights.items()}

        def call(own: Any, network: nn.Module = network, x: Tensor = x) -> Tensor:
            found: Tensor = torch.func.functional_call(network, own, (x,))
            return found

        together = torch.vmap(call)(stacked)
        require_close(together[1], network(x), "under vmap", rtol=1e-4, atol=1e-5)


# --- data sets --------------------------------------------------------------------------------


def _data(entry: Entry[DatasetFacts], seed: int) -> Data:
    for knob in entry.knobs:
        if knob.required or mark(knob.annotation, FilePath) is not None:
            raise SkippedError("the data are in a file of the user's own")
    try:
        data = entry.function(seed, **entry.defaults())
    except LossbenchError as error:
        raise SkippedError(error.message) from None
    assert isinstance(data, Data)
    return data


def _samples(data: Data) -> list[Samples]:
    return [part for part in (data.samples, data.train, data.validation, data.test) if part]


@contract("dataset")
def repeatability(entry: Entry[DatasetFacts]) -> None:
    """The same seed gives the same data."""
    for one, other in zip(_samples(_data(entry, 3)), _samples(_data(entry, 3)), strict=True):
        if not np.array_equal(one.inputs, other.inputs, equal_nan=True):
            raise BrokenError("the inputs of one seed differ between two calls")
        if not np.array_equal(one.targets, other.targets, equal_nan=True):
            raise BrokenError("the targets of one seed differ between two calls")


@contract("dataset")
def samples(entry: Entry[DatasetFacts]) -> None:
    """Inputs are finite floats, targets are of the declared kind, one for each input."""
    data = _data(entry, 0)
    declared = entry.facts.target
    kind = declared.kind if isinstance(declared, Target) else declared
    if kind is not None and data.target.kind != kind:
        raise BrokenError(f"targets are {data.target.kind}, declared is {kind}")
    if not _samples(data):
        raise BrokenError("there are no samples")
    for part in _samples(data):
        if len(part.inputs) != len(part.targets):
            raise BrokenError(f"{len(part.inputs)} inputs and {len(part.targets)} targets")
        if not np.issubdtype(part.inputs.dtype, np.floating):
            raise BrokenError(f"inputs are {part.inputs.dtype}, and must be floats")
        if not np.isfinite(part.inputs).all():
            raise BrokenError("an input is not finite")
        if data.target.kind == "class":
            least, most = int(part.targets.min()), int(part.targets.max())
            if least < 0 or most >= data.target.size:
                raise BrokenError(f"classes from {least} to {most}, there are {data.target.size}")


# --- metrics ----------------------------------------------------------------------------------


def _pair(entry: Entry[MetricFacts], kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return a perfect prediction, a random one, and the target, of one kind of target."""
    draw, rows = Draw(seed=1), 40
    if kind == "class":
        target = draw.labels(rows)
        perfect = 8.0 * nn.functional.one_hot(target, CLASSES).float()
        other = draw.real(rows, CLASSES)
    elif kind == "multilabel":
        target = draw.zero_one(rows, CLASSES)
        perfect, other = 8 * (2 * target - 1), draw.real(rows, CLASSES)
    elif kind == "distribution":
        target = draw.distribution(rows, CLASSES)
        perfect, other = target.log(), draw.real(rows, CLASSES)
    else:
        target = draw.counts(rows, 2) if kind == "count" else draw.real(rows, 2)
        perfect, other = target, target + draw.uniform(rows, 2, low=0.5, high=2.0)
    if entry.facts.prediction == "probabilities":
        link = torch.sigmoid if kind == "multilabel" else lambda x: x.softmax(1)
        perfect, other = link(perfect), link(other)
    return perfect, other, target


@contract("metric")
def direction(entry: Entry[MetricFacts]) -> None:
    """A perfect prediction is better than a random one, and both are single finite numbers."""
    if entry.facts.prediction == "point":
        raise SkippedError("it is for the point of a problem")
    for kind in entry.facts.target:
        if kind == "objective":
            continue
        perfect, other, target = _pair(entry, kind)
        knobs = entry.defaults()
        try:
            best, usual = (entry.function(p, target, **knobs) for p in (perfect, other))
        except LossbenchError as error:
            raise SkippedError(f"not for the data that are drawn: {error.message}") from None
        for value in (best, usual):
            if torch.as_tensor(value).numel() != 1 or not bool(
                torch.isfinite(torch.as_tensor(value))
            ):
                raise BrokenError("it is not one finite number")
        gain = float(best) - float(usual)
        lower = entry.facts.lower_is_better
        if lower is not None and (gain >= 0 if lower else gain <= 0):
            words = "lower" if lower else "higher"
            raise BrokenError(
                f"declared {words} is better: {number(float(best))} for a perfect prediction, "
                f"{number(float(usual))} for a random one ({kind})"
            )

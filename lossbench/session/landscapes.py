"""The landscape of a problem with two coordinates: its height anywhere, its minima, the starts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossbench.config.spec import RunSpec
from lossbench.errors import UsageError
from lossbench.lazy import LazyModule, np, torch

if TYPE_CHECKING:
    from lossbench.training import survey as surveys
    from lossbench.training.survey import Survey
else:
    surveys = LazyModule("lossbench.training.survey")

Array = Any


@dataclass(frozen=True, eq=False)
class Landscape:
    """A function of two coordinates that a comparison's trials were to minimise."""

    minima: Array
    _survey: "Survey"

    def start(self, seed: int) -> tuple[float, float]:
        """Return the point at which a trial with this seed begins."""
        _, point = _point(self._survey.parts.model(seed).network)
        first, second = point.detach().tolist()
        return first, second

    def heights(self, x: Array, y: Array) -> Array:
        """Return the values [len(y), len(x)] on a grid, noise left out."""
        network = self._survey.parts.model(0).network.eval()
        name, point = _point(network)
        inputs = self._survey.splits["train"].inputs

        def height(place: Any) -> Any:
            found = torch.func.functional_call(network, {name: place}, (inputs,))
            return found[:, 0].mean()

        grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        with torch.no_grad():
            values = torch.func.vmap(height)(torch.as_tensor(grid, dtype=point.dtype))
        return values.double().numpy().reshape(len(y), len(x))


def landscape(spec: RunSpec) -> Landscape:
    """Return the landscape of a run's problem. Raises UsageError where it has none to draw."""
    found = surveys.survey(spec)
    target = found.parts.target
    if found.parts.brought is None or target.kind != "objective":
        raise UsageError(
            f"dataset '{spec.dataset.name}' is no landscape: there are no paths to draw",
            hint="paths are for problems of two coordinates, such as dataset: surface",
        )
    if target.size != 2:
        raise UsageError(
            f"dataset '{spec.dataset.name}' has {target.size} coordinates: "
            "a path can be drawn over two",
        )
    minima = np.asarray(found.prepared.splits["train"].targets[0], dtype=np.float64)
    return Landscape(minima.reshape(-1, 2), found)


def _point(network: Any) -> tuple[str, Any]:
    """Return the name and the value of what is trained: the only parameter there is."""
    ((name, point),) = network.named_parameters()
    return name, point

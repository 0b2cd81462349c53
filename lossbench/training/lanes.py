"""The step of very small networks with the trials side by side, as the lanes of a vector register.

A product of 15 x 10 numbers is too small for BLAS and too short for vector instructions; the same
product of a thousand trials is a long vector operation for each of its 150 terms. So the step of
one trial is recorded without `vmap`, and each of its operations is written anew for tensors with
one more dimension at their end, that of the trials: elementwise ones stay what they are, matrix
products become products and sums.

The number of lanes is a multiple of `LANES`, the spare ones computing nothing of use: a trial is
then rounded in the same way wherever it lies, alone or among a thousand.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lossbench.training.stack import Given
from lossbench.training.step import Split
from lossbench.training.tidy import changes_inputs, clean, finish

aten = torch.ops.aten

Node = Any  # an fx.Node, whose declared types of arguments and targets are too wide to help

LANES = 32
"""torch sums so many columns at once, and the rest of them in another order."""

LARGEST_PRODUCT = 400
"""Multiplications of a matrix product up to which lanes are faster than BLAS."""


class NotInLanesError(Exception):
    """An operation has no form with the trials last, or is faster with the trials first."""


class LanesGraph:
    """The graph of one trial on as many as are given; takes and returns trials first."""

    def __init__(self, recorded: fx.GraphModule, given: Given, rows: Tensor) -> None:
        self._graph: Any = to_lanes(recorded).forward
        # What goes in is laid beside each other in storage of its own, the same at every step.
        self._flat, self._rows = _Beside(given.flat), _Beside(rows)
        self._buffers = [_Beside(values) for values in given.buffers]
        self._own_buffers = [beside.lanes for beside in self._buffers]
        self._places = self._rows.lanes.view(-1)
        shares = self._flat.lanes.split(given.layout.sizes)
        self._params = [
            share.view(*shape, -1) for share, shape in zip(shares, given.layout.shapes, strict=True)
        ]

    def __call__(self, given: Given, split: Split, rows: Tensor) -> tuple[Tensor, ...]:
        """Return what a batch gives: values [trials], and gradients [trials, parameters]."""
        self._flat.take(given.flat)
        for beside, values in zip(self._buffers, given.buffers, strict=True):
            beside.take(values)
        self._rows.take(rows)
        x, y = self._batch(split.inputs), self._batch(split.target)
        *values, grads = self._graph(*self._params, *self._own_buffers, x, y)
        trials, lanes = len(rows), grads.shape[1]
        # A sum of weights may be the same for all.
        own = (value.expand(lanes)[:trials] for value in values)
        return *own, grads.t()[:trials].contiguous()

    def _batch(self, values: Tensor) -> Tensor:
        """Return the samples of a batch, [samples, ..., lanes]."""
        chosen = values.view(-1) if values.numel() == len(values) else values
        samples, lanes = self._rows.lanes.shape
        features = values.shape[1:]
        found = chosen.index_select(0, self._places)
        if chosen.ndim == 1:  # then another view is enough
            return found.view(samples, *features, lanes)
        return found.view(samples, lanes, *features).movedim(1, -1).contiguous()


class _Beside:
    """Storage for values of all trials [trials, ...], side by side: [..., lanes]."""

    def __init__(self, values: Tensor) -> None:
        lanes = -(-len(values) // LANES) * LANES
        self.lanes = values.new_zeros(*values.shape[1:], lanes)
        self._own = self.lanes[..., : len(values)].movedim(-1, 0)

    def take(self, values: Tensor) -> Tensor:
        """Take other values, and return their storage."""
        self._own.copy_(values)
        return self.lanes


def to_lanes(module: fx.GraphModule) -> fx.GraphModule:
    """Return the graph of one trial as a graph of lanes: every input and output ends with them.

    Raises NotInLanesError where the trials had better stay the first dimension.
    """
    clean(module)
    graph, made = fx.Graph(owning_module=module), _Made()
    for node in module.graph.nodes:
        made[node] = _rewritten(graph, node, made)
    lanes = fx.GraphModule(module, graph)
    finish(lanes)
    return lanes


class _Made(dict[Node, Node]):
    """The new node of every old one, and which of them hold no lanes: they are the same for all."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: set[Node] = set()


def _rewritten(graph: fx.Graph, node: Node, made: _Made) -> Node:
    """Write one operation into the new graph."""
    if node.op != "call_function":
        if node.op == "get_attr":
            made.shared.add(node)
        return graph.node_copy(node, made.__getitem__)
    if all(source in made.shared for source in node.all_input_nodes):
        made.shared.add(node)
        return graph.node_copy(node, made.__getitem__)
    write = _WRITERS.get(node.target)
    if write is None and torch.Tag.pointwise in getattr(node.target, "tags", ()):
        write = _elementwise
    if write is None or changes_inputs(node) or not isinstance(node.meta.get("val"), Tensor):
        raise NotInLanesError(str(node.target))
    for source in node.all_input_nodes:
        # What all lanes share takes part in an operation as one column for all of them.
        if source in made.shared and source.meta["val"].ndim:
            made[source] = _column(graph, source, made[source])
            made.shared.discard(source)
    args = fx.node.map_arg(node.args, made.__getitem__)
    kwargs = fx.node.map_arg(node.kwargs, made.__getitem__)
    new: Node = write(graph, node, args, kwargs)
    new.meta.setdefault("shape", _shape(node))
    return new


def _column(graph: fx.Graph, source: Node, shared: Node) -> Node:
    """Return what all lanes share as one column for all of them; a constant is kept as one."""
    module = graph.owning_module
    if source.op != "get_attr" or module is None:
        return graph.call_function(torch.unsqueeze, (shared, -1))
    name = f"{source.target}_column"
    module.register_buffer(name, getattr(module, source.target)[..., None], persistent=False)
    return graph.get_attr(name)


def _elementwise(graph: fx.Graph, node: Node, args: Any, kwargs: Any) -> Node:
    return graph.call_function(node.target, args, kwargs)


def _loss(graph: fx.Graph, node: Node, args: Any, kwargs: Any) -> Node:
    names = [argument.name for argument in node.target._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    if given.get("reduction") != 0:
        raise NotInLanesError(f"{node.target} reduces")
    return graph.call_function(node.target, args, kwargs)


def _reshape(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    return _shaped(graph, args[0], _shape(node))


def _shaped(graph: fx.Graph, source: Node, shape: tuple[int, ...]) -> Node:
    """Give a node another shape, behind which the lanes stand."""
    if source.target == "reshape":
        source = source.args[0]
    if source.meta.get("shape") == shape:
        return source
    for user in source.users:  # made for another use of the same
        if user.target == "reshape" and user.meta["shape"] == shape:
            return user
    new = graph.call_method("reshape", (source, (*shape, -1)))
    new.meta["shape"] = shape
    return new


def _expand(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    return graph.call_method("expand", (args[0], (*_shape(node), -1)))


def _transpose(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    ndim = len(_shape(node))
    one, other = sorted(dim % ndim for dim in (node.args[1:] or (0, -1)))
    return _swapped(graph, args[0], _shape(node.args[0]), one, other)


def _swapped(
    graph: fx.Graph, source: Node, shape: tuple[int, ...], one: int = 0, other: int = 1
) -> Node:
    """Swap two dimensions of a node that has this shape."""
    if one == other:
        return source
    swapped = list(shape)
    swapped[one], swapped[other] = shape[other], shape[one]
    if 1 in (shape[one], shape[other]) and other == one + 1:
        return _shaped(graph, source, tuple(swapped))
    if source.target is torch.transpose and source.args[1:] == (one, other):
        return source.args[0]
    new = graph.call_function(torch.transpose, (source, one, other))
    new.meta["shape"] = tuple(swapped)
    return new


def _permute(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    ndim = len(_shape(node))
    dims = (*(dim % ndim for dim in node.args[1]), ndim)
    return graph.call_function(torch.permute, (args[0], dims))


def _along(graph: fx.Graph, node: Node, args: Any, kwargs: Any) -> Node:
    """Keep an operation along a dimension, counted from the front."""
    place = [argument.name for argument in node.target._schema.arguments].index("dim")
    dim = (node.args[place] if len(node.args) > place else 0) % len(_shape(node.args[0]))
    return graph.call_function(node.target, (*args[:place], dim, *args[place + 1 :]), kwargs)


def _select(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    dim = node.args[1] % len(_shape(node.args[0]))
    return graph.call_function(torch.select, (args[0], dim, *args[2:]))


def _cat(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    if any(source.op == "get_attr" for source in args[0]):
        raise NotInLanesError("joined with what all lanes share")
    dim = (node.args[1] if len(node.args) > 1 else 0) % len(_shape(node))
    return graph.call_function(torch.cat, (args[0], dim))


def _reduce(graph: fx.Graph, node: Node, args: Any, kwargs: Any) -> Node:
    """Sum or average over dimensions, or over all of them but the lanes."""
    ndim = len(_shape(node.args[0]))
    if not ndim or kwargs:
        raise NotInLanesError(f"{node.target} of {ndim} dimensions, {kwargs}")
    function = torch.sum if "sum" in str(node.target) else torch.mean
    dims = (node.args[1] if len(node.args) > 1 else None) or range(ndim)
    return _reduced(graph, function, args[0], _shape(node.args[0]), dims, _shape(node))


def _reduced(
    graph: fx.Graph,
    function: Callable[..., Tensor],
    source: Node,
    shape: tuple[int, ...],
    dims: Sequence[int],
    result: tuple[int, ...],
) -> Node:
    """Reduce a node of this shape along dimensions, and give what remains the shape `result`."""
    gone = [dim % len(shape) for dim in dims]
    new = graph.call_function(function, (source, gone))
    new.meta["shape"] = tuple(size for dim, size in enumerate(shape) if dim not in gone)
    return _shaped(graph, new, result)


def _product(graph: fx.Graph, node: Node, args: Any, _kwargs: Any) -> Node:
    return _multiplied(graph, args, _sizes(*node.args))


def _multiplied(graph: fx.Graph, factors: Sequence[Node], sizes: tuple[int, int, int]) -> Node:
    """Multiply matrices: each column of one with each row of the other, and their sum."""
    left, right = factors
    rows, inner, columns = sizes
    turned = left.target is torch.transpose and left.args[1:] == (0, 1)
    shape: tuple[int, ...]
    if inner == 1:
        return graph.call_function(torch.mul, (left, right))
    if rows == 1 or (columns == 1 and turned):  # the terms stand in the first dimension
        left = _swapped(graph, left, (rows, inner))
        shape, along = (inner, max(rows, columns)), 0
    elif columns == 1:
        right = _swapped(graph, right, (inner, columns))
        shape, along = (rows, inner), 1
    else:
        left = graph.call_function(torch.unsqueeze, (left, 2))
        shape, along = (rows, inner, columns), 1
    terms = graph.call_function(torch.mul, (left, right))
    return _reduced(graph, torch.sum, terms, shape, (along,), (rows, columns))


def _product_plus(graph: fx.Graph, node: Node, args: Any, kwargs: Any) -> Node:
    """Multiply matrices and add what stands first."""
    if kwargs:
        raise NotInLanesError("addmm with factors")
    start, *factors = args
    sizes = _sizes(*node.args[1:])
    if sizes[1] == 1:
        return graph.call_function(torch.addcmul, (start, *factors))
    return graph.call_function(torch.add, (_multiplied(graph, factors, sizes), start))


def _sizes(left: Node, right: Node) -> tuple[int, int, int]:
    """Return rows, terms and columns of a product."""
    rows, inner = _shape(left)
    columns = _shape(right)[1]
    if rows * inner * columns > LARGEST_PRODUCT:
        raise NotInLanesError(f"a product of {rows} x {inner} x {columns}")
    return rows, inner, columns


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


Writer = Callable[[fx.Graph, Node, Any, Any], Node]

_WRITERS: dict[Any, Writer] = {
    aten.mm.default: _product,
    aten.addmm.default: _product_plus,
    aten.t.default: _transpose,
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.view.default: _reshape,
    aten._unsafe_view.default: _reshape,
    aten.reshape.default: _reshape,
    aten.squeeze.dim: _reshape,
    aten.squeeze.dims: _reshape,
    aten.squeeze.default: _reshape,
    aten.unsqueeze.default: _reshape,
    aten.expand.default: _expand,
    aten.select.int: _select,
    aten.slice.Tensor: _along,
    aten.cat.default: _cat,
    aten.sum.default: _reduce,
    aten.sum.dim_IntList: _reduce,
    aten.mean.default: _reduce,
    aten.mean.dim: _reduce,
    aten._log_softmax.default: _along,
    aten._softmax.default: _along,
    aten._log_softmax_backward_data.default: _along,
    aten._softmax_backward_data.default: _along,
    aten.mse_loss.default: _loss,
    aten.mse_loss_backward.default: _loss,
    aten.smooth_l1_loss.default: _loss,
    aten.smooth_l1_loss_backward.default: _loss,
    aten.huber_loss.default: _loss,
    aten.huber_loss_backward.default: _loss,
}
for _target in (
    aten.clone.default,
    aten._to_copy.default,
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.full_like.default,
    aten.hardswish.default,
    aten.elu_backward.default,
    aten.hardshrink_backward.default,
    aten.hardsigmoid_backward.default,
    aten.hardswish_backward.default,
    aten.hardtanh_backward.default,
    aten.leaky_relu_backward.default,
    aten.mish_backward.default,
    aten.softplus_backward.default,
    aten.softshrink_backward.default,
):
    _WRITERS[_target] = _elementwise

"""A gradient step traced once into a flat graph of tensor operations, tidied, and checked.

Small networks are limited by Python and by the dispatch of tiny operations, not by arithmetic.
`make_fx` records what autograd and `vmap` would do at every step; replaying the record skips both.
The record is only trusted after it has given what the original gives on two different batches.

Tracing bakes in Python numbers, `training`, and shapes: one graph per batch shape and mode.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]

aten = torch.ops.aten

_SAME_VALUES = (aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default)
_SAME_SHAPE = (aten.view.default, aten._unsafe_view.default, aten.expand.default)
_TIMES_ONE = (aten.mul.Scalar, aten.pow.Tensor_Scalar)  # x * 1 and x ** 1, as autograd writes them
_LIKE = (  # made in the likeness of a tensor, of which only shape and type count
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.full_like.default,
    aten.new_ones.default,
    aten.new_zeros.default,
    aten.new_full.default,
)
_FROM_NUMBERS = (
    aten.ones.default,
    aten.zeros.default,
    aten.full.default,
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    aten.scalar_tensor.default,
)
_DIRECT = {  # torch's own binding of the same operation: a third less to call
    aten.add.Tensor: torch.add,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.div.Tensor: torch.div,
    aten.exp.default: torch.exp,
    aten.log.default: torch.log,
    aten.mul.Scalar: torch.mul,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.relu.default: torch.relu,
    aten.sigmoid.default: torch.sigmoid,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.tanh.default: torch.tanh,
    aten.transpose.int: torch.transpose,
    aten.unsqueeze.default: torch.unsqueeze,
}
_FOLD_AT_MOST = 1 << 20  # elements of a constant worth keeping instead of making it again


class NotTraceableError(Exception):
    """The function cannot be recorded, or its record does not give what the function gives."""


def trace(function: Function, batches: Sequence[Sequence[Tensor]]) -> Function:
    """Return a replay of `function`, checked on every one of `batches` (the first is traced).

    `function` takes tensors and returns tensors, and may change some of its inputs in place
    (running statistics); the check compares those too.
    Raises NotTraceableError with the reason.
    """
    try:
        recorded = make_fx(function)(*_copies(batches[0]))
    except Exception as error:
        # Anything may be raised from within a user's network; the reason is what matters here.
        raise NotTraceableError(_reason(error)) from error
    tidy(recorded)
    replay = recorded.forward
    for batch in batches:
        _check(function, replay, batch)
    return replay


def _reason(error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first_line}"[:200]


def _copies(batch: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in batch]


def _check(function: Function, replay: Function, batch: Sequence[Tensor]) -> None:
    """Hold the replay against the function: results, and inputs changed in place."""
    expected_inputs, got_inputs = _copies(batch), _copies(batch)
    expected = function(*expected_inputs)
    with torch.no_grad():
        got = replay(*got_inputs)
    pairs = zip([*expected, *expected_inputs], [*got, *got_inputs], strict=True)
    for number, (wanted, value) in enumerate(pairs):
        if wanted.shape != value.shape or not torch.allclose(
            wanted, value, rtol=1e-4, atol=1e-6, equal_nan=True
        ):
            raise NotTraceableError(f"the traced step gives another tensor {number}")


def tidy(module: fx.GraphModule) -> None:
    """Drop what does nothing, make outer products of thin matrix products, fold constants."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target is aten.bmm.default and _shape(node.args[0])[-1] == 1:
            # [T, b, 1] @ [T, 1, o] is an outer product; broadcasting does it without a BLAS call.
            node.target = aten.mul.Tensor
    _fold_constants(module)
    graph.eliminate_dead_code(is_impure_node=_must_stay)
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = _DIRECT.get(node.target, node.target)
            if node.target is aten.view.default:
                node.op, node.target = "call_method", "view"
    # The plain code generator: flat arguments in, a tuple out, no pytree work at every call.
    graph.set_codegen(fx.graph.CodeGen())
    graph.lint()
    module.recompile()


def _shape(node: Any) -> torch.Size:
    """Return the shape that a node had when it was traced."""
    return node.meta["val"].shape


def _known_shape(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), Tensor)


def _does_nothing(node: fx.Node) -> bool:
    if node.target in _SAME_VALUES:
        return True
    source = node.args[0]
    if node.target in _TIMES_ONE:
        return bool(node.args[1] == 1) and _is_float(source)
    if node.target not in _SAME_SHAPE:
        return False
    return _known_shape(node) and _known_shape(source) and _shape(node) == _shape(source)


def _is_float(node: Any) -> bool:
    return _known_shape(node) and bool(node.meta["val"].is_floating_point())


def _changes_inputs(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _must_stay(node: fx.Node) -> bool:
    return node.op in ("placeholder", "output") or _changes_inputs(node)


def _fold_constants(module: fx.GraphModule) -> None:
    """Compute once what depends on no input: seeds of the backward pass, counts, ranges."""
    graph = module.graph
    known: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            known[node] = _attribute(module, str(node.target))
            continue
        if node.op != "call_function" or _changes_inputs(node):
            continue
        if any(_changes_inputs(user) for user in node.users):
            continue  # written to later: every replay needs a fresh one
        value = _constant(node, known)
        if not isinstance(value, Tensor) or value.numel() > _FOLD_AT_MOST:
            continue
        known[node] = value
    for number, (node, value) in enumerate(known.items()):
        if node.op == "get_attr" or all(user in known for user in node.users):
            continue
        name = f"_folded_{number}"
        module.register_buffer(name, value.detach(), persistent=False)
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)


def _constant(node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """Return the value of a node that needs no input, else None."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return None
    if target in _FROM_NUMBERS:
        return target(*node.args, **node.kwargs)
    if target in _LIKE and _known_shape(node.args[0]):
        likeness = node.args[0].meta["val"]  # type: ignore[union-attr]
        empty = torch.empty(likeness.shape, dtype=likeness.dtype, device=likeness.device)
        return target(empty, *node.args[1:], **node.kwargs)
    sources = node.all_input_nodes
    random = torch.Tag.nondeterministic_seeded in target.tags
    if random or not sources or any(source not in known for source in sources):
        return None
    args = fx.node.map_arg(node.args, known.__getitem__)
    return target(*args, **fx.node.map_arg(node.kwargs, known.__getitem__))


def _attribute(module: fx.GraphModule, path: str) -> Any:
    return operator.attrgetter(path)(module)

"""A recorded gradient step made cheaper, without another result: the graph's small repairs.

What autograd and `vmap` leave behind does more than is needed: it copies what need not be copied,
walks along short dimensions, computes again what never changes. Each rule here is one such thing.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from lossbench.training.convolutions import DIRECT

aten = torch.ops.aten

Node = Any  # an fx.Node, whose declared types of arguments and targets are too wide to help

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
_DIRECT = DIRECT | {  # torch's own binding of the same operation: a third less to call
    aten.add.Tensor: torch.add,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.cat.out: torch.cat,
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

NARROW = 16
"""Below so many elements, the numbers of a vector register, a dimension is a short one."""

TURNED_UP_TO = 64
"""Terms of a sum up to which BLAS likes few rows better than few columns; with more, it is three
times slower."""

_FOLD_AT_MOST = 1 << 20  # elements of a constant worth keeping instead of making it again


def tidy(module: fx.GraphModule) -> None:
    """Apply every rule to a recorded graph, in place."""
    graph = module.graph
    clean(module)
    for node in _calls(graph):
        if _is_transposition(node) and _is_transposition(node.args[0]):
            node.replace_all_uses_with(node.args[0].args[0])
    for node in _calls(graph):
        _turn_product(node)
        _go_across(node)
    graph.eliminate_dead_code(is_impure_node=_must_stay)
    for node in _calls(graph):
        _skip_copy(node)
        _join_product_and_sum(node)
    finish(module)


def clean(module: fx.GraphModule) -> None:
    """Drop what does nothing, what is computed twice, and what is the same at every step."""
    graph = module.graph
    for node in _calls(graph):
        if _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    _join_equals(graph)
    _fold_constants(module)
    graph.eliminate_dead_code(is_impure_node=_must_stay)


def finish(module: fx.GraphModule) -> None:
    """Make the graph quick to call."""
    graph = module.graph
    graph.eliminate_dead_code(is_impure_node=_must_stay)
    for node in _calls(graph):
        node.target = _DIRECT.get(node.target, node.target)
        if node.target in (aten.view.default, aten._unsafe_view.default):
            # A tensor may lie otherwise in memory than it did when it was recorded.
            node.op, node.target = "call_method", "reshape"
    # The plain code generator: flat arguments in, a tuple out, no pytree work at every call.
    graph.set_codegen(fx.graph.CodeGen())
    graph.lint()
    module.recompile()


def _join_equals(graph: fx.Graph) -> None:
    """Compute once what is computed twice from the same, where nothing is changed in place."""
    if any(changes_inputs(node) for node in graph.nodes):
        return
    first: dict[str, Node] = {}
    for node in _calls(graph):
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            continue
        key = repr((node.target, node.args, sorted(node.kwargs.items())))
        if key in first:
            node.replace_all_uses_with(first[key])
            graph.erase_node(node)
        else:
            first[key] = node


def _calls(graph: fx.Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _turn_product(node: Node) -> None:
    """Compute a batch of matrix products in the form that costs least.

    [T, b, 1] @ [T, 1, o] is an outer product: broadcasting does it without a BLAS call. What is
    transposed afterwards, as the gradients of weights are, is computed the other way round, and
    so is a narrow result: BLAS takes half the time for a few rows as for a few columns.
    """
    if node.target is not aten.bmm.default:
        return
    left, right = node.args
    if _shape(left)[-1] == 1:
        node.target = aten.mul.Tensor
        return
    trials, rows, columns = _shape(node)
    if trials == 1 == min(rows, columns):
        node.target = _product_alone
        return
    turned = bool(node.users) and all(map(_is_transposition, node.users))
    narrow = 1 < columns < min(rows, NARROW) and _shape(left)[-1] <= TURNED_UP_TO
    if not turned and not narrow:
        return
    with node.graph.inserting_before(node):
        product = node.graph.call_function(
            aten.bmm.default, (_transposed(right), _transposed(left))
        )
        product.meta["val"] = node.meta["val"].transpose(1, 2).contiguous()
        for user in list(node.users) if turned else ():
            user.replace_all_uses_with(product)
            node.graph.erase_node(user)
        if not turned:
            node.replace_all_uses_with(_transposed(product))
        node.graph.erase_node(node)


def _product_alone(left: Tensor, right: Tensor) -> Tensor:
    """Multiply one matrix with a vector as in a batch of several.

    Alone, MKL would take another way, which rounds otherwise: the trial would not be the same.
    """
    return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[:1]


def _is_transposition(node: Any) -> bool:
    """Tell whether a node swaps the two last dimensions of a batch of matrices."""
    return (
        getattr(node, "target", None) is aten.transpose.int
        and len(_shape(node)) == 3
        and {dim % 3 for dim in node.args[1:]} == {1, 2}
    )


def _transposed(node: Node) -> Node:
    """Return the node of a transposed batch of matrices, at the graph's point of insertion."""
    if _is_transposition(node):
        return node.args[0]
    turned = node.graph.call_function(aten.transpose.int, (node, 1, 2))
    turned.meta["val"] = node.meta["val"].transpose(1, 2)
    return turned


def _go_across(node: Node) -> None:
    """Let a softmax over a few classes run along the samples, side by side in a vector register.

    torch's kernel for the last dimension takes rows shorter than a register element by element.
    """
    across = _ACROSS.get(node.target)
    if across is None:
        return
    function, axis = across
    shape = _shape(node)
    last = node.args[axis] in (-1, len(shape) - 1)
    if last and len(shape) >= 3 and shape[-1] < NARROW:
        node.target = function


def _log_softmax_across(x: Tensor, _dim: int, half_to_float: bool) -> Tensor:
    """Compute `aten._log_softmax` over the last dimension."""
    turned = x.transpose(-1, -2).contiguous()
    return aten._log_softmax.default(turned, -2, half_to_float).transpose(-1, -2)


def _softmax_across(x: Tensor, _dim: int, half_to_float: bool) -> Tensor:
    """Compute `aten._softmax` over the last dimension."""
    turned = x.transpose(-1, -2).contiguous()
    return aten._softmax.default(turned, -2, half_to_float).transpose(-1, -2)


def _log_softmax_backward_across(
    grad: Tensor, output: Tensor, _dim: int, dtype: torch.dtype
) -> Tensor:
    """Compute `aten._log_softmax_backward_data` over the last dimension."""
    turned = (grad.transpose(-1, -2).contiguous(), output.transpose(-1, -2).contiguous())
    return aten._log_softmax_backward_data.default(*turned, -2, dtype).transpose(-1, -2)


def _softmax_backward_across(grad: Tensor, output: Tensor, _dim: int, dtype: torch.dtype) -> Tensor:
    """Compute `aten._softmax_backward_data` over the last dimension."""
    turned = (grad.transpose(-1, -2).contiguous(), output.transpose(-1, -2).contiguous())
    return aten._softmax_backward_data.default(*turned, -2, dtype).transpose(-1, -2)


_ACROSS = {  # what replaces an operation, and the place of the dimension among its arguments
    aten._log_softmax.default: (_log_softmax_across, 1),
    aten._softmax.default: (_softmax_across, 1),
    aten._log_softmax_backward_data.default: (_log_softmax_backward_across, 2),
    aten._softmax_backward_data.default: (_softmax_backward_across, 2),
}


def _skip_copy(node: Node) -> None:
    """Read the original where a copy is made only to be joined with others, which copies again."""
    if node.target is not aten.clone.default or not node.users:
        return
    joined = all(
        view.target in (aten.view.default, aten._unsafe_view.default)
        and all(user.target in (aten.cat.default, aten.cat.out) for user in view.users)
        for view in node.users
    )
    if joined and node.meta["val"].shape == node.args[0].meta["val"].shape:
        node.replace_all_uses_with(node.args[0])


def _join_product_and_sum(node: Node) -> None:
    """Add an elementwise product in the same pass that makes it."""
    if node.target is not aten.add.Tensor or node.kwargs:
        return
    for other, product in (node.args, node.args[::-1]):
        if getattr(product, "target", None) is not aten.mul.Tensor or len(product.users) > 1:
            continue
        terms = (other, *product.args)
        if all(map(_known_shape, terms)) and len({term.meta["val"].dtype for term in terms}) == 1:
            node.target, node.args = torch.addcmul, terms
            return


def _shape(node: Any) -> torch.Size:
    """Return the shape that a node had when it was traced."""
    return node.meta["val"].shape


def _known_shape(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), Tensor)


def _does_nothing(node: Node) -> bool:
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


def changes_inputs(node: fx.Node) -> bool:
    """Tell whether an operation writes into what it is given."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _must_stay(node: fx.Node) -> bool:
    return node.op in ("placeholder", "output") or changes_inputs(node)


def _fold_constants(module: fx.GraphModule) -> None:
    """Compute once what depends on no input: seeds of the backward pass, counts, ranges."""
    graph = module.graph
    known: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            known[node] = _attribute(module, str(node.target))
            continue
        if node.op != "call_function" or changes_inputs(node):
            continue
        if any(changes_inputs(user) for user in node.users):
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

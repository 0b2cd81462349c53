"""Networks: each equals the same thing written by hand in torch, with every activation there is."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from lossbench.components.modules import decayed, noise_buffers, number_places
from lossbench.components.networks._items import check_layers
from lossbench.components.networks._parts import draw
from lossbench.errors import ConfigError, UsageError
from lossbench.registry import activation, layer, network
from lossbench.training.model import ActivationMaker

IMAGE = (1, 8, 8)
STACK = (
    {"conv2d": {"out_channels": 4, "kernel_size": 3, "padding": 1}},
    "batch_norm",
    "activation",
    "max_pool",
    "flatten",
    {"linear": 12},
    "activation",
    {"dropout": 0.2},
)
KNOBS = {
    "mlp": {"hidden": (12, 6), "norm": "batch", "dropout": 0.1},
    "cnn2d": {"channels": (4, 6), "norm": "batch", "hidden": (10,), "dropout": 0.1},
    "layers": {"layers": STACK},
    "unet": {"channels": (4, 6), "dropout": 0.1},
    "cnn3d": {"channels": (4, 6), "dropout": 0.1},
}

INPUTS = {"cnn3d": (1, 8, 8, 8)}

# `point` stands for a module that data bring: see test_problems.py.
NETWORKS = [name for name in network if not network[name].facts.brought]


def maker(name, **knobs):
    entry = activation.find(name)
    required = {knob.name: 0.1 for knob in entry.knobs if knob.required}
    return ActivationMaker(entry, {**required, **entry.defaults(), **knobs})


def build(name, inputs=None, outputs=3, chosen="relu", seed=0, **knobs):
    inputs = inputs or INPUTS.get(name, IMAGE)
    torch.default_generator.manual_seed(seed)
    module = network[name].function(inputs, outputs, maker(chosen), **knobs)
    number_places(module)
    return module


# --- the contract, for every network and activation in the registry ----------------------------


@pytest.mark.parametrize("chosen", activation.names())
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_with_every_activation(name, chosen):
    wide = (*INPUTS.get(name, IMAGE)[:-1], 16)  # glu halves the width, pooling does, twice
    shrinks = activation[chosen].facts.output_shape is not None
    if network[name].facts.dense and shrinks and maker(chosen)((4, *wide[1:]))[1][1:] != wide[1:]:
        with pytest.raises(UsageError, match="every pixel"):
            build(name, wide, chosen=chosen)
        return
    module = build(name, wide, chosen=chosen, **KNOBS.get(name, {}))
    result = module(torch.randn(5, *wide))
    assert result.shape == (5, 3, *(wide[1:] if network[name].facts.dense else ()))
    result.square().sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert any(bool(p.grad.abs().sum() > 0) for p in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_the_same_for_the_same_seed(name):
    knobs = KNOBS.get(name, {})
    first, again = build(name, seed=3, **knobs), build(name, seed=3, **knobs)
    other = build(name, seed=4, **knobs)
    assert list(first.state_dict()) == list(again.state_dict())
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert any(
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_is_without_noise_and_each_sample_by_itself(name):
    module = build(name, **KNOBS.get(name, {}))
    for _ in range(3):
        module(torch.randn(16, *INPUTS.get(name, IMAGE)) * 3 + 1)  # moves the running statistics
    module.eval()
    x = torch.randn(6, *INPUTS.get(name, IMAGE))
    whole = module(x)
    assert torch.equal(whole, module(x))
    assert torch.allclose(whole[:2], module(x[:2]), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("outputs", [1, 4, (2, 3)])
def test_the_outputs_have_the_shape_that_was_asked_for(name, outputs):
    if network[name].facts.dense and not isinstance(outputs, int):
        with pytest.raises(UsageError, match="for each pixel"):
            build(name, outputs=outputs)
        return
    module = build(name, outputs=outputs, **KNOBS.get(name, {}))
    behind = (outputs,) if isinstance(outputs, int) else outputs
    shape = INPUTS.get(name, IMAGE)
    places = shape[1:] if network[name].facts.dense else ()
    assert tuple(module(torch.randn(7, *shape)).shape) == (7, *behind, *places)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_linear_layers_and_convolutions_decay_and_nothing_else(name):
    module = build(name, chosen="prelu", **KNOBS.get(name, {}))
    expected = {
        f"{path}.weight"
        for path, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d)
    }
    assert decayed(module) == expected


@pytest.mark.parametrize("name", NETWORKS)
def test_a_group_of_networks_equals_each_alone(name):
    """With batch statistics and dropout, through vmap and through a trace on other numbers."""
    knobs = KNOBS.get(name, {})
    trials = [build(name, chosen="prelu", seed=seed, **knobs) for seed in range(3)]
    stacked = {
        key: torch.stack([dict(_state(trial))[key] for trial in trials])
        for key, _ in _state(trials[0])
    }
    keys = torch.tensor([[1, 2], [3, 4], [5, 6]])
    for key in noise_buffers(trials[0]):
        stacked[key] = keys
    x = torch.randn(3, 6, *INPUTS.get(name, IMAGE))

    def group(state, x):
        return vmap(lambda state, x: functional_call(trials[0], state, (x,)))(state, x)

    together = group(_copy(stacked), x)
    traced = make_fx(group)(_copy(stacked), torch.zeros_like(x))(_copy(stacked), x)
    exactly = name in ("mlp", "linear")
    for trial, module in enumerate(trials):
        for key in noise_buffers(module):
            module.get_buffer(key).copy_(keys[trial])
        alone = module(x[trial])
        assert torch.allclose(together[trial], alone, rtol=1e-5, atol=1e-6)
        if exactly:
            assert torch.allclose(traced[trial], together[trial], rtol=0, atol=1e-7)
        else:
            assert torch.allclose(traced[trial], together[trial], rtol=1e-5, atol=1e-6)


def _state(module):
    yield from ((key, value.detach()) for key, value in module.named_parameters())
    yield from module.named_buffers()


def _copy(state):
    return {key: value.clone() for key, value in state.items()}


# --- by hand -----------------------------------------------------------------------------------


def same(module, by_hand, x, *, training=True):
    ours, theirs = list(module.parameters()), list(by_hand.parameters())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    module.train(training)
    by_hand.train(training)
    a, b = module(x), by_hand(x)
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("seed", [0, 7])
def test_mlp_equals_the_sequential_that_people_write(seed):
    module = build("mlp", (10,), 3, "tanh", seed, hidden=(8, 5))
    torch.manual_seed(seed)
    by_hand = nn.Sequential(
        nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)
    )
    same(module, by_hand, torch.randn(6, 10))


@pytest.mark.parametrize(("norm", "made"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_mlp_puts_the_norm_in_front_of_the_activation(norm, made):
    module = build("mlp", (2, 5), 3, "relu", 1, hidden=(8,), norm=norm, bias=False)
    torch.manual_seed(1)
    by_hand = nn.Sequential(
        nn.Flatten(), nn.Linear(10, 8, bias=False), made(8), nn.ReLU(), nn.Linear(8, 3, bias=False)
    )
    same(module, by_hand, torch.randn(6, 2, 5))
    module.zero_grad()
    by_hand.zero_grad()
    same(module, by_hand, torch.randn(6, 2, 5), training=False)


def test_mlp_drops_behind_each_activation():
    module = build("mlp", (10,), 3, hidden=(8, 5), dropout=0.4)
    assert [name for name, _ in module.named_children()] == [
        "linear1", "activation1", "dropout1", "linear2", "activation2", "dropout2", "output",
    ]  # fmt: skip
    assert {part.place for part in module.modules() if hasattr(part, "place")} == {0, 1}
    assert module.dropout2.keep.p == 0.4
    assert "dropout" not in dict(build("mlp", (10,), hidden=(8,), dropout=0.0).named_children())


def test_mlp_takes_a_probability_of_each_trial_s_own():
    share = torch.tensor(0.3, dtype=torch.float64)
    module = build("mlp", (10,), 3, hidden=(8,), dropout=share)
    plain = build("mlp", (10,), 3, hidden=(8,), dropout=0.3)
    assert "dropout1.keep.p" in dict(module.named_buffers())
    assert list(module.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 10)
    assert torch.equal(module(x), plain(x))


def test_mlp_follows_an_activation_that_changes_the_width():
    module = build("mlp", (10,), 3, "glu", hidden=(8, 6))
    assert [part.in_features for part in module.modules() if isinstance(part, nn.Linear)] == [
        10, 4, 3,
    ]  # fmt: skip


def test_linear_is_one_layer():
    module = build("linear", (4, 5), 3, seed=2)
    torch.manual_seed(2)
    same(module, nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), torch.randn(6, 4, 5))


def test_cnn2d_equals_the_sequential_that_people_write():
    module = build("cnn2d", IMAGE, 10, "relu", 5, channels=(4, 6), hidden=(7,))
    torch.manual_seed(5)
    by_hand = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 10),
    )  # fmt: skip
    same(module, by_hand, torch.randn(3, *IMAGE))


def test_layers_equals_the_sequential_that_people_write():
    stack = (
        {"name": "conv2d", "out_channels": 4, "kernel_size": [3, 3], "bias": False},
        {"batch_norm": {"momentum": 0.2}},
        "activation",
        {"activation": {"leaky_relu": {"negative_slope": 0.2}}},
        {"activation": {"name": "elu", "alpha": 0.5}},
        {"avg_pool": 2},
        "relu",
        "nn.Flatten",
        {"linear": 9},
        {"activation": "tanh"},
        "layer_norm",
    )
    module = build("layers", IMAGE, 2, "gelu", 6, layers=stack)
    torch.manual_seed(6)
    by_hand = nn.Sequential(
        nn.Conv2d(1, 4, (3, 3), bias=False), nn.BatchNorm2d(4, momentum=0.2), nn.GELU(),
        nn.LeakyReLU(0.2), nn.ELU(0.5), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 2),
    )  # fmt: skip
    same(module, by_hand, torch.randn(5, *IMAGE))
    assert torch.equal(module.batch_norm2.running_mean, by_hand[1].running_mean)


def test_layers_puts_a_flatten_in_front_of_the_output_where_it_is_needed():
    module = build("layers", IMAGE, 2, layers=({"conv2d": 3},))
    assert [name for name, _ in module.named_children()] == ["conv2d1", "flatten", "output"]
    assert module.output.in_features == 3 * 6 * 6


# --- first weights -----------------------------------------------------------------------------

DRAWN_BY_TORCH = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}


@pytest.mark.parametrize("scheme", DRAWN_BY_TORCH)
@pytest.mark.parametrize("shape", [(30, 20), (8, 4, 3, 3)])
def test_a_scheme_draws_what_torch_s_draws(scheme, shape):
    ours, theirs = torch.empty(shape), torch.empty(shape)
    torch.manual_seed(1)
    draw(ours, scheme)
    torch.manual_seed(1)
    DRAWN_BY_TORCH[scheme](theirs)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scheme", DRAWN_BY_TORCH)
def test_a_scheme_gives_its_deviation_times_the_gain(scheme):
    module = build("mlp", (300,), 5, hidden=(500,), init=scheme, gain=1.7)
    weight = module.linear1.weight.detach()
    variance = {"xavier": 2 / 800, "kaiming": 1 / 300, "orthogonal": 1 / 500}
    expected = 1.7 * math.sqrt(variance[scheme.partition("_")[0]])
    assert float(weight.std()) == pytest.approx(expected, rel=0.02)
    assert abs(float(weight.mean())) < 4 * expected / math.sqrt(weight.numel())
    if scheme.endswith("uniform"):
        assert float(weight.abs().max()) == pytest.approx(expected * math.sqrt(3), rel=0.01)
    if scheme == "orthogonal":
        product = weight.T @ weight
        assert torch.allclose(product, 1.7**2 * torch.eye(300), atol=1e-4)


@pytest.mark.parametrize("name", [n for n in NETWORKS if "init" in network[n].defaults()])
def test_a_scheme_draws_every_weight_and_sets_biases_to_zero(name):
    knobs = KNOBS.get(name, {})
    module = build(name, chosen="prelu", init="xavier_normal", **knobs)
    default = dict(build(name, chosen="prelu", **knobs).named_parameters())
    for key, parameter in module.named_parameters():
        owner = module.get_submodule(key.rpartition(".")[0])
        if isinstance(owner, nn.Linear | nn.Conv2d | nn.Conv3d):
            assert not torch.equal(parameter, default[key])
            assert key.endswith("weight") or not parameter.any()
        else:
            assert torch.equal(parameter, default[key])


# --- what does not fit -------------------------------------------------------------------------


def test_an_mlp_without_hidden_widths_is_the_linear_network():
    with pytest.raises(UsageError, match="'hidden' is empty") as caught:
        build("mlp", hidden=())
    assert "linear" in caught.value.hint


def test_cnn2d_refuses_vectors_with_the_reason():
    with pytest.raises(UsageError, match=r"takes images .* shape \(64,\)") as caught:
        build("cnn2d", (64,))
    assert "positions" in caught.value.hint
    assert "mlp" in caught.value.hint


def test_cnn2d_refuses_more_halving_than_the_image_bears():
    with pytest.raises(UsageError, match="4 blocks halve an image of 8 x 8 to nothing") as caught:
        build("cnn2d", channels=(2, 2, 2, 2))
    assert "at most 3" in caught.value.hint
    assert build("cnn2d", channels=(2, 2, 2))(torch.randn(2, *IMAGE)).shape == (2, 3)
    build("cnn2d", channels=(2, 2, 2, 2), pool="none")


def test_cnn2d_refuses_a_window_without_a_middle():
    with pytest.raises(UsageError, match="kernel_size 4 is even"):
        build("cnn2d", kernel_size=4)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("batchnrom", "item 2 of layers: there is no layer 'batchnrom'"),
        ({"linaer": 3}, "there is no layer 'linaer'"),
        ("linear", "linear needs out_features"),
        ({"linear": {"bias": True}}, "linear needs out_features"),
        ({"linear": 0}, "linear: out_features should be greater than 0, and 0 is given"),
        ({"linear": 3.5}, "out_features should be a valid integer, and 3.5 is given"),
        ({"linear": "wide"}, "out_features should be a valid integer, and 'wide' is given"),
        ({"linear": True}, "out_features should be a valid integer, and True is given"),
        ({"dropout": 2}, "dropout: p should be less than or equal to 1, and 2 is given"),
        ({"dropout": math.nan}, "dropout: p should be"),
        ({"dropout": {"q": 0.5}}, "dropout has no knob 'q'"),
        ({"conv2d": {"out_channels": 3, "padding": "sme"}}, "padding should be"),
        ({"conv2d": {"out_channels": 3, "kernel_size": [3, 0]}}, "kernel_size should be"),
        ({"global_avg_pool": 3}, "global_avg_pool takes no value, and 3 is given"),
        ({"activation": "rellu"}, "there is no activation 'rellu'"),
        ({"activation": {"leaky_relu": {"slope": 1}}}, "leaky_relu has no knob 'slope'"),
        ({"activation": {"hardtanh": {"min_val": 2, "max_val": 1}}}, "item 2 of layers"),
        ({"linear": 3, "dropout": 0.5}, "names 2 things at once: linear, dropout"),
        (3, "3 is no layer"),
        (None, "None is no layer"),
        ({}, "{} is no layer"),
        ([], "is no layer"),
        ({1: 2}, "is no layer"),
        ({"name": 3}, "there is no layer 'name'"),
    ],
)
def test_an_item_that_is_no_layer_is_refused_with_its_number(item, says):
    problems = check_layers(["flatten", item])
    assert len(problems) == 1
    assert says in problems[0].message
    assert problems[0].message.startswith("item 2 of layers")
    with pytest.raises(ConfigError):
        build("layers", layers=("flatten", item))
    with pytest.raises(ConfigError):
        network["layers"].facts.check(layers=("flatten", item), init="default", gain=None)


def test_a_misspelt_layer_is_told_the_nearest():
    (problem,) = check_layers([{"batch_nrm": None}])
    assert "batch_norm" in problem.hint
    (problem,) = check_layers([{"dropout": {"pp": 0.5}}])
    assert "did you mean p?" in problem.hint


def test_all_problems_are_told_at_once():
    problems = check_layers(["nothing_like_it", {"linear": -1}, "flatten", {"dropout": 2}])
    assert [problem.message.split(":")[0] for problem in problems] == [
        "item 1 of layers", "item 2 of layers", "item 4 of layers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        (("flatten", {"conv2d": 3}), r"item 2 of layers \(conv2d\): conv2d takes an image"),
        ((*["max_pool"] * 4,), r"item 4 of layers \(max_pool\): .* a height of 1"),
        (({"linear": 3},), r"item 1 of layers \(linear\): linear takes a vector"),
        (("flatten", {"linear": 5}, "glu"), r"item 3 of layers \(glu\)"),
    ],
)
def test_a_shape_that_does_not_fit_names_the_item(stack, says):
    with pytest.raises(UsageError, match=says):
        build("layers", layers=stack)


def test_an_empty_list_is_refused():
    with pytest.raises(UsageError, match="empty"):
        build("layers", layers=())


def test_no_name_is_both_a_layer_and_an_activation():
    assert not set(layer) & set(activation)
    assert "activation" not in layer


def test_a_list_is_checked_without_torch():
    code = (
        "import sys\n"
        "from lossbench.registry import network\n"
        "network['layers'].facts.check(layers=({'linear': 3}, 'relu', {'conv2d': 8}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_u_net_takes_an_image_of_any_size():
    """What pooling rounds away comes back: 13 -> 6 -> 3 and up again."""
    for size in ((13, 13), (9, 16), (4, 7)):
        module = build("unet", (3, *size), channels=(4, 5, 6))
        assert module(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_a_u_net_sees_far_by_its_coarse_path():
    """Without it, four 3 x 3 windows at full size reach 4 pixels away; with it, much further."""
    module = build("unet", (1, 32, 32), channels=(4, 6, 8), norm="none").eval()
    x = torch.zeros(1, 1, 32, 32, requires_grad=True)
    module(x)[0, 0, 16, 16].backward()
    rows = x.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    assert rows.max() - rows.min() > 16


@pytest.mark.parametrize(
    ("name", "inputs", "channels", "words"),
    [
        ("unet", (64,), (4, 4), "takes images"),
        ("unet", (1, 3, 8), (2, 2, 2), "2 halvings leave nothing of an image of 3 x 8"),
        ("cnn3d", (1, 8, 8), (2,), "takes volumes"),
        ("cnn3d", (1, 8, 8, 4), (2, 2, 2), "halve a volume of 8 x 8 x 4 to nothing"),
    ],
)
def test_what_has_another_shape_or_is_too_small_is_refused(name, inputs, channels, words):
    with pytest.raises(UsageError, match=words):
        build(name, inputs, channels=channels)

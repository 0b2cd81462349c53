"""Layers: the shape they promise is the one torch gives; the noise is noise, and repeats."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from lossbench.components import noise
from lossbench.components.layers._dropout import AlphaDropout, Dropout, kept
from lossbench.components.modules import (
    batch_statistics,
    decayed,
    noise_buffers,
    number_places,
)
from lossbench.components.noise import levels
from lossbench.errors import UsageError
from lossbench.registry import layer

SHAPES = {1: (6,), 2: (6, 9), 3: (6, 9, 8), 4: (6, 5, 6, 7)}
REQUIRED_KNOBS = {
    "out_features": 5,
    "out_channels": 4,
    "num_groups": 3,
    "size": 3,
    "output_size": 2,
    "num_heads": 2,
}


def make(name, shape, **knobs):
    entry = layer[name]
    required = {knob.name: REQUIRED_KNOBS[knob.name] for knob in entry.knobs if knob.required}
    return entry.function(shape, **{**required, **knobs})


def write_key(module, seed, step):
    for name in noise_buffers(module):
        module.get_buffer(name).copy_(torch.tensor([seed, step]))


# --- the contract, for every layer in the registry ----------------------------------------------


@pytest.mark.parametrize("name", layer.names())
def test_a_layer_takes_the_dimensions_it_declares_and_no_other(name):
    for dimensions, shape in SHAPES.items():
        if dimensions in layer[name].facts.dimensions:
            module, behind = make(name, shape)
            for training in (True, False):
                result = module.train(training)(torch.randn(3, *shape))
                assert tuple(result.shape[1:]) == behind
        else:
            with pytest.raises(UsageError) as caught:
                make(name, shape)
            assert caught.value.message.startswith(name)
            assert str(shape) in caught.value.message


@pytest.mark.parametrize("name", layer.names())
def test_a_layer_declares_whether_it_is_noisy_and_looks_at_the_batch(name):
    facts = layer[name].facts
    module, _ = make(name, SHAPES[facts.dimensions[-1]])
    assert bool(noise_buffers(module)) == facts.noisy
    assert bool(batch_statistics(module)) == facts.batch_statistics


@pytest.mark.parametrize("name", layer.names())
def test_a_layer_says_what_it_is(name):
    doc = layer[name].doc
    assert doc.summary
    assert "Formula" in doc.sections
    assert "Shapes" in doc.sections
    assert all(knob.doc for knob in layer[name].knobs), "a knob without a word on it"


@pytest.mark.parametrize("name", layer.names())
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_in_a_fused_and_traced_group_equals_itself_alone(name, training):
    shape = SHAPES[layer[name].facts.dimensions[0]]
    module, _ = make(name, shape)
    module.train(training)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    trials = 3
    stacked = {key: torch.stack([value.detach()] * trials) for key, value in state.items()}
    for key in noise_buffers(module):
        stacked[key] = torch.tensor([[1, 2], [3, 4], [5, 6]])
    inputs = torch.randn(trials, 4, *shape)

    def group(stacked, inputs):
        return vmap(lambda state, x: functional_call(module, state, (x,)))(stacked, inputs)

    copies = {key: value.clone() for key, value in stacked.items()}
    together = group({key: value.clone() for key, value in stacked.items()}, inputs)
    traced = make_fx(group)(copies, torch.randn_like(inputs))
    fresh = {key: value.clone() for key, value in stacked.items()}
    assert torch.allclose(traced(fresh, inputs), together, rtol=1e-6, atol=1e-6)
    for trial in range(trials):
        alone = {key: value[trial].clone() for key, value in stacked.items()}
        result = functional_call(module, alone, (inputs[trial],))
        assert torch.allclose(result, together[trial], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("batch_norm", (6,), nn.BatchNorm1d),
        ("batch_norm", (6, 9), nn.BatchNorm1d),
        ("batch_norm", (6, 9, 8), nn.BatchNorm2d),
        ("batch_norm", (6, 5, 6, 7), nn.BatchNorm3d),
        ("instance_norm", (6, 9), nn.InstanceNorm1d),
        ("instance_norm", (6, 9, 8), nn.InstanceNorm2d),
        ("instance_norm", (6, 5, 6, 7), nn.InstanceNorm3d),
        ("max_pool", (6, 9), nn.MaxPool1d),
        ("max_pool", (6, 9, 8), nn.MaxPool2d),
        ("avg_pool", (6, 5, 6, 7), nn.AvgPool3d),
        ("adaptive_avg_pool", (6, 9), nn.AdaptiveAvgPool1d),
    ],
)
def test_the_shape_that_arrives_chooses_torch_s_class(name, shape, expected):
    module, _ = make(name, shape)
    assert type(module) is expected


def test_knobs_reach_torch_s_module():
    module, _ = layer["batch_norm"].function((6,), eps=1e-3, momentum=0.3, affine=False)
    assert (module.eps, module.momentum, module.affine) == (1e-3, 0.3, False)
    module, _ = layer["conv2d"].function(
        (4, 9, 9), out_channels=6, kernel_size=(3, 1), stride=(2, 1), padding=(1, 0),
        dilation=(2, 1), groups=2, bias=False, padding_mode="reflect",
    )  # fmt: skip
    assert module.kernel_size == (3, 1)
    assert module.stride == (2, 1)
    assert module.dilation == (2, 1)
    assert (module.padding, module.groups, module.bias) == ((1, 0), 2, None)
    assert module.padding_mode == "reflect"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("nn.BatchNorm2d", "batch_norm"),
        ("Conv2d", "conv2d"),
        ("Dropout", "dropout"),
        ("nn.Dropout2d", "dropout2d"),
        ("max_pool2d", "max_pool"),
        ("LayerNorm", "layer_norm"),
        ("nn.LazyLinear", "linear"),
        ("LazyConv2d", "conv2d"),
        ("LazyBatchNorm3d", "batch_norm"),
        ("LazyInstanceNorm1d", "instance_norm"),
        ("nn.SyncBatchNorm", "batch_norm"),
        ("nn.MultiheadAttention", "multihead_attention"),
        ("nn.FeatureAlphaDropout", "feature_alpha_dropout"),
    ],
)
def test_torch_s_spellings_are_found(spelling, name):
    assert layer.find(spelling).name == name


# --- sizes ---------------------------------------------------------------------------------------

small = st.integers(1, 4)
windows = st.fixed_dictionaries(
    {"kernel_size": small, "stride": small, "padding": st.integers(0, 3), "dilation": small}
)


@given(size=st.integers(1, 12), knobs=windows)
@settings(max_examples=150, deadline=None)
def test_a_convolution_is_refused_exactly_where_torch_refuses(size, knobs):
    theirs = nn.Conv1d(2, 3, **knobs)
    try:
        expected = tuple(theirs(torch.zeros(1, 2, size)).shape[1:])
    except RuntimeError:
        with pytest.raises(UsageError, match=r"conv1d: a window of \d+ does not fit"):
            layer["conv1d"].function((2, size), out_channels=3, **knobs)
    else:
        assert layer["conv1d"].function((2, size), out_channels=3, **knobs)[1] == expected


@given(size=st.integers(1, 12), knobs=windows, ceil_mode=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_pool_gives_the_size_that_torch_gives(size, knobs, ceil_mode):
    try:
        module, behind = layer["max_pool"].function((2, size), ceil_mode=ceil_mode, **knobs)
    except UsageError:
        with pytest.raises(RuntimeError):
            # Rounding up, torch lets a window larger than everything through; that is refused too.
            nn.MaxPool1d(ceil_mode=False, **knobs)(torch.zeros(1, 2, size))
    else:
        assert tuple(module(torch.zeros(1, 2, size)).shape[1:]) == behind


image_layers = st.lists(
    st.one_of(
        st.builds(
            lambda knobs, out, bias: ("conv2d", {**knobs, "out_channels": out, "bias": bias}),
            windows, small, st.booleans(),
        ),
        st.builds(lambda size: ("conv2d", {"out_channels": 4, "kernel_size": size,
                                           "padding": "same"}), small),
        st.builds(
            lambda size, stride, ceil: ("avg_pool", {"kernel_size": size, "stride": stride,
                                                     "ceil_mode": ceil}),
            small, st.none() | small, st.booleans(),
        ),
        st.builds(lambda size: ("adaptive_avg_pool", {"output_size": size}), small),
        st.builds(lambda start: ("flatten", {"start_dim": start}), st.integers(1, 3)),
        st.sampled_from([("batch_norm", {}), ("layer_norm", {}), ("rms_norm", {}),
                         ("group_norm", {"num_groups": 1}), ("dropout", {}), ("max_pool", {}),
                         ("dropout_channels", {}), ("global_avg_pool", {}), ("instance_norm", {}),
                         ("linear", {"out_features": 3}), ("alpha_dropout", {}),
                         ("local_response_norm", {"size": 2})]),
    ),
    min_size=1, max_size=7,
)  # fmt: skip


@given(stack=image_layers, height=st.integers(3, 14), width=st.integers(3, 14))
@settings(max_examples=120, deadline=None)
def test_any_stack_of_layers_gives_the_shape_it_promises(stack, height, width):
    shape = (4, height, width)
    x = torch.randn(2, *shape)
    for name, knobs in stack:
        try:
            module, shape = layer[name].function(shape, **knobs)
        except UsageError:
            continue  # this one does not fit here; the next one may
        x = module(x)
        assert tuple(x.shape[1:]) == shape


@pytest.mark.parametrize(
    ("name", "shape", "knobs", "says"),
    [
        ("linear", (1, 8, 8), {"out_features": 3}, "linear takes a vector"),
        ("conv2d", (10,), {"out_channels": 3}, r"conv2d takes an image .* arrives is \(10,\)"),
        ("conv2d", (3, 2, 8), {"out_channels": 3}, "window of 3 does not fit into a height of 2"),
        ("conv2d", (3, 8, 8), {"out_channels": 4, "groups": 2}, "2 groups do not divide the 3"),
        ("conv2d", (4, 8, 8), {"out_channels": 3, "groups": 2}, "divide the 3 out_channels"),
        ("conv2d", (4, 8, 8), {"out_channels": 3, "stride": 2, "padding": "same"}, "stride 2"),
        ("conv2d", (4, 8, 8), {"out_channels": 3, "kernel_size": (3, 3, 3)}, "has 3 numbers"),
        ("conv1d", (4, 3), {"out_channels": 3, "padding": 3, "padding_mode": "reflect"}, "3 val"),
        ("max_pool", (4, 1, 8), {}, "window of 2 does not fit into a height of 1"),
        ("avg_pool", (4, 8, 8), {"kernel_size": 2, "padding": 2}, "padding of 2 is more than half"),
        ("group_norm", (6,), {"num_groups": 4}, "4 groups do not divide the 6 channels"),
        ("group_norm", (6,), {"num_groups": 6}, "one value each"),
        ("instance_norm", (6, 1, 1), {}, "single value"),
        ("flatten", (6, 2), {"start_dim": 3}, "dimensions 3 to -1 are none of"),
        ("dropout2d", (6,), {}, r"dropout2d takes an image .* \(6,\)"),
        ("dropout1d", (6, 8, 8), {}, "dropout1d takes a sequence"),
        ("batch_norm", (), {}, "batch_norm takes a vector"),
        ("layer_norm", (0,), {}, r"arrives is \(0,\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(name, shape, knobs, says):
    with pytest.raises(UsageError, match=says):
        layer[name].function(shape, **knobs)


def test_a_vector_is_asked_for_a_flatten():
    with pytest.raises(UsageError) as caught:
        layer["linear"].function((1, 8, 8), out_features=3)
    assert "flatten" in caught.value.hint


# --- noise: right numbers ------------------------------------------------------------------------


def numpy_levels(seed, step, place, count):
    """The hash again, in unsigned words."""
    with np.errstate(over="ignore"):
        word = np.int64(seed).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word += np.int64(step).astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        word += np.uint64(place) * np.uint64(0x8CB92BA72F3D8DD7)
        for _ in range(2):
            signed_shift = (word.astype(np.int64) >> np.int64(32)).astype(np.uint64)
            word = (word ^ signed_shift) * np.uint64(0xFF51AFD7ED558CCD)
        first, second = np.uint32(int(word) & 0xFFFFFFFF), np.uint32(int(word) >> 32)
        x = np.arange(count, dtype=np.uint32) ^ first
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15)) ^ second) * np.uint32(0x846CA68B)
        return (x >> np.uint32(8)).astype(np.int64)


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    step=st.integers(0, 2**63 - 1),
    place=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_hash_wraps_as_unsigned_words_do(seed, step, place):
    ours = levels(torch.tensor([seed, step]), place, 100)
    # Signed words order as unsigned ones with the highest bit turned round.
    expected = numpy_levels(seed, step, place, 100)
    assert np.array_equal(ours.numpy().astype(np.int64) & 0xFFFFFF, expected)
    assert ours.min() >= -(2**23)
    assert ours.max() < 2**23


def bits(seed, step=1, place=0, count=2**16, p=0.5):
    return kept(torch.tensor([seed, step]), place, (count,), p).to(torch.float64)


def agreement(a, b, p):
    """How far the share of common ones is from that of independent masks, in deviations."""
    share = (1 - p) ** 2
    return float(((a * b).mean() - share) / math.sqrt(share * (1 - share) / len(a)))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.8, 0.99])
def test_the_share_of_zeros_is_p(p):
    deviations = []
    for seed in range(30):
        share = 1 - bits(seed, step=seed * 7, p=p).mean()
        deviations.append(float((share - p) / math.sqrt(p * (1 - p) / 2**16)))
    assert np.abs(deviations).max() < 4
    # Their squares add up to a chi-square of 30 degrees of freedom: neither too wild nor too tame.
    assert 11 < np.square(deviations).sum() < 60


def test_every_level_is_as_likely():
    counts = np.zeros(256)
    for step in range(8):
        drawn = levels(torch.tensor([11, step]), 3, 2**16).numpy() + 2**23
        counts += np.bincount(drawn >> 16, minlength=256)
        counts_low = np.bincount(drawn & 0xFF, minlength=256)
        assert 160 < ((counts_low - 256) ** 2 / 256).sum() < 370  # 255 degrees of freedom
    expected = counts.sum() / 256
    assert 160 < ((counts - expected) ** 2 / expected).sum() < 370


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize(
    "pair",
    [
        lambda i: ({"seed": i}, {"seed": i + 1}),
        lambda i: ({"seed": i}, {"seed": i + 2**32}),
        lambda i: ({"seed": 0, "step": i}, {"seed": 0, "step": i + 1}),
        lambda i: ({"seed": i, "step": 5}, {"seed": 5, "step": i}) if i != 5 else None,
        lambda i: ({"seed": 3, "place": i}, {"seed": 3, "place": i + 1}),
        lambda i: (
            ({"seed": 3, "place": i, "step": 1}, {"seed": 3, "place": 1, "step": i})
            if i != 1
            else None
        ),
    ],
    ids=["seeds", "distant-seeds", "steps", "seed-and-step", "places", "place-and-step"],
)
def test_masks_of_different_keys_are_independent(pair, p):
    pairs = [found for found in map(pair, range(40)) if found is not None]
    deviations = [agreement(bits(**a, p=p), bits(**b, p=p), p) for a, b in pairs]
    assert np.abs(deviations).max() < 4.2
    assert np.square(deviations).sum() < 80  # 40 degrees of freedom: beyond 1 in 5000


@pytest.mark.parametrize("lag", [1, 2, 3, 8, 10, 16, 32, 64, 100, 128, 255, 256, 1024])
def test_neighbours_are_independent(lag):
    deviations = []
    for seed in range(12):
        mask = bits(seed, p=0.3)
        deviations.append(agreement(mask[:-lag], mask[lag:], 0.3))
    assert np.abs(deviations).max() < 4.2
    assert np.square(deviations).sum() < 36


def test_samples_and_features_of_a_batch_are_uncorrelated():
    mask = kept(torch.tensor([4, 9]), 0, (4096, 64), 0.5).to(torch.float64) * 2 - 1
    between_features = (mask.T @ mask) / math.sqrt(4096)
    between_samples = (mask[:512] @ mask[:512].T) / math.sqrt(64)
    for deviations in (between_features, between_samples):
        pairs = deviations[tuple(torch.triu_indices(*deviations.shape, offset=1))]
        assert pairs.abs().max() < 6
        assert abs(float(pairs.square().mean()) - 1) < 4 * math.sqrt(2 / len(pairs))


def test_close_steps_never_run_through_the_same_noise():
    """Keys whose words lie close must give no copies of one mask: neither shifted by a number of
    places (a circular correlation), nor with exchanged places (one over the bits of the index)."""
    steps, count = 120, 1024
    masks = torch.stack([bits(0, step, count=count) for step in range(steps)]).float() * 2 - 1
    hadamard = torch.ones(1, 1)
    while len(hadamard) < count:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    walsh, fourier = masks @ hadamard, torch.fft.rfft(masks)
    first, second = torch.triu_indices(steps, steps, offset=1)
    shifted = torch.fft.irfft(fourier[first] * fourier[second].conj(), n=count)
    exchanged = (walsh[first] * walsh[second]) @ hadamard / count
    for correlation in (shifted, exchanged):
        # 7 million values, in deviations: the largest of so many normal ones lies near 5.3.
        assert correlation.abs().max() / math.sqrt(count) < 6.5


# --- dropout as a layer --------------------------------------------------------------------------

DROPOUTS = [name for name in layer if layer[name].facts.noisy and "dropout" in name]


def test_every_noisy_layer_but_attention_is_a_dropout():
    noisy = {name for name in layer if layer[name].facts.noisy}
    assert noisy - set(DROPOUTS) == {"multihead_attention"}  # see test_wide_layers.py


@pytest.mark.parametrize("name", DROPOUTS)
def test_noise_repeats_with_its_key_and_changes_with_every_part_of_it(name):
    shape = SHAPES[layer[name].facts.dimensions[-1]]
    network = nn.Sequential(make(name, shape)[0], make(name, shape)[0])
    assert number_places(network) == 2
    x = torch.randn(16, *shape) + 3

    def run(part, seed, step):
        write_key(network, seed, step)
        return network[part](x)

    once = run(0, 1, 1)
    run(0, 5, 7)
    assert torch.equal(run(0, 1, 1), once)
    assert not torch.equal(run(0, 2, 1), once)
    assert not torch.equal(run(0, 1, 2), once)
    assert not torch.equal(run(1, 1, 1), once)
    assert torch.equal(network.eval()(x), x)
    assert not any("noise" in key for key in network.state_dict())


@pytest.mark.parametrize("name", DROPOUTS)
def test_a_group_with_its_own_probability_each_equals_each_alone(name):
    shape = SHAPES[layer[name].facts.dimensions[0]]
    module, _ = make(name, shape, p=torch.tensor(0.5, dtype=torch.float64))
    x = torch.randn(4, 7, *shape)
    keys = torch.tensor([[1, 2], [3, 4], [-5, 6], [7, 8]])
    shares = torch.tensor([0.2, 0.5, 0.0, 1.0], dtype=torch.float64)

    def one(key, share, x):
        return functional_call(module, {"keep.noise_key": key, "keep.p": share}, (x,))

    together = vmap(one)(keys, shares, x)
    traced = make_fx(vmap(one))(keys + 1, shares, torch.zeros_like(x))
    assert torch.equal(traced(keys, shares, x), together)
    for trial in range(4):
        alone, _ = make(name, shape, p=float(shares[trial]))
        write_key(alone, *keys[trial].tolist())
        assert torch.equal(alone(x[trial]), together[trial])


def test_dropout_zeroes_or_rescales_and_its_gradient_is_its_mask():
    module = Dropout(0.25)
    write_key(module, 3, 1)
    x = torch.randn(500, 40, requires_grad=True)
    y = module(x)
    ratio = (y / x).detach()
    assert torch.allclose(ratio[ratio != 0], torch.tensor(1 / 0.75))
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(ratio == 0, 0.0, torch.tensor(1 / 0.75)))
    assert abs(float(module(torch.ones(500, 400)).mean()) - 1) < 4 * math.sqrt(1 / 3 / 200_000)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dropout_keeps_the_number_type(dtype):
    for module in (Dropout(0.5), Dropout(torch.tensor(0.5)), AlphaDropout(torch.tensor(0.5))):
        assert module(torch.ones(4, 4, dtype=dtype)).dtype == dtype


def test_the_extremes():
    x = torch.randn(100, 20)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    assert torch.equal(Dropout(torch.tensor(1.0))(x), torch.zeros_like(x))
    assert torch.equal(AlphaDropout(1.0)(x), torch.zeros_like(x))
    assert torch.allclose(AlphaDropout(0.0)(x), x)


def test_channels_are_dropped_whole_and_each_sample_by_itself():
    module, _ = layer["dropout_channels"].function((32, 6, 6), p=0.4)
    write_key(module, 8, 2)
    y = module(torch.ones(200, 32, 6, 6))
    first = y[:, :, 0, 0]
    assert torch.equal(y, first[:, :, None, None].expand_as(y))
    assert abs(float((first == 0).double().mean()) - 0.4) < 4 * math.sqrt(0.24 / 6400)
    assert len({tuple(row) for row in (first == 0).tolist()}) == 200


def test_dropout_by_name_is_checked_against_the_shape_and_does_the_same():
    x = torch.ones(8, 6, 5, 5)
    named, _ = layer["dropout2d"].function((6, 5, 5), p=0.5)
    chosen, _ = layer["dropout_channels"].function((6, 5, 5), p=0.5)
    assert torch.equal(named(x), chosen(x))


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_alpha_dropout_keeps_mean_and_variance_as_torch_s_does(p):
    x = torch.randn(1000, 300, generator=torch.Generator().manual_seed(0))
    module = AlphaDropout(p)
    write_key(module, 1, 1)
    y = module(x)
    assert abs(float(y.mean())) < 0.012
    assert abs(float(y.var()) - 1) < 0.02
    # The two values that torch's own makes of a zero, and how it scales the rest.
    theirs = nn.AlphaDropout(p)(torch.zeros(1000))
    assert torch.allclose(module(torch.zeros(1000)).unique(), theirs.unique(), atol=1e-5)
    ones = nn.AlphaDropout(p)(torch.ones(1000))
    assert torch.allclose(module(torch.ones(1000)).unique(), ones.unique(), atol=1e-5)


def test_p_out_of_a_float32_and_a_float_is_the_same_mask():
    for p in (0.1, 0.2, 0.3, 0.7, 1 / 3):
        a = kept(torch.tensor([1, 1]), 0, (100_000,), p)
        b = kept(torch.tensor([1, 1]), 0, (100_000,), torch.tensor(p))
        assert torch.equal(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_noise():
    key = torch.tensor([12, 34])
    assert torch.equal(levels(key.cuda(), 5, 10**6).cpu(), levels(key, 5, 10**6))


# --- what the program asks of modules -------------------------------------------------------------


def test_weights_are_what_decays():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(2), nn.GroupNorm(1, 2), nn.Flatten(),
        nn.LayerNorm([4, 4]), nn.RMSNorm((2, 2)), nn.Linear(8, 3), nn.MultiheadAttention(4, 2),
    )  # fmt: skip
    assert decayed(network) == {
        "0.weight", "7.weight", "8.in_proj_weight", "8.out_proj.weight",
    }  # fmt: skip
    assert decayed(nn.Linear(3, 1)) == {"weight"}


def test_a_module_may_keep_weight_decay_off():
    class Table(nn.Module):
        weight_decay = False

        def __init__(self):
            super().__init__()
            self.values = nn.Parameter(torch.zeros(4, 4))
            self.inner = nn.Linear(2, 2)

    assert decayed(nn.Sequential(Table(), nn.Linear(2, 2))) == {"1.weight"}


def test_the_mixers_lose_nothing():
    """Odd factors: each is a permutation of the words of its size."""
    for factor in (
        noise.SEED_FACTOR, noise.STEP_FACTOR, noise.PLACE_FACTOR, noise.KEY_MIX,
        noise.FIRST_MIX, noise.SECOND_MIX,
    ):  # fmt: skip
        assert factor % 2 == 1

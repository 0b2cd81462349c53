"""Layers whose values depend on more than their own input: attention, and adaptive activations."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from lossbench.components.modules import decayed, number_places
from lossbench.errors import UsageError
from lossbench.registry import activation, layer


def make(name, shape, **knobs):
    torch.default_generator.manual_seed(0)
    return layer[name].function(shape, **knobs)[0]


def drawn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_torchs_with_the_channels_in_front(heads, bias):
    ours = make("multihead_attention", (8, 5), num_heads=heads, bias=bias)
    theirs = nn.MultiheadAttention(8, heads, bias=bias, batch_first=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * drawn(*parameter.shape, seed=parameter.dim()))
    theirs.load_state_dict(ours.state_dict())
    x = drawn(3, 8, 5).requires_grad_()
    y = x.detach().transpose(1, 2).clone().requires_grad_()
    weights = drawn(3, 8, 5, seed=2)
    mine, other = ours(x), theirs(y, y, y)[0].transpose(1, 2)
    torch.testing.assert_close(mine, other)
    (mine * weights).sum().backward()
    (other * weights).sum().backward()
    torch.testing.assert_close(x.grad.transpose(1, 2), y.grad)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs.get_parameter(name).grad)


def test_attention_starts_as_torchs_does():
    module = make("multihead_attention", (64, 5), num_heads=4)
    torch.default_generator.manual_seed(0)
    theirs = nn.MultiheadAttention(64, 4)
    assert not module.in_proj_bias.any()
    assert not module.out_proj.bias.any()
    for name in ("in_proj_weight", "out_proj.weight"):
        ours, other = module.get_parameter(name), theirs.get_parameter(name)
        assert float(ours.abs().max()) == pytest.approx(float(other.abs().max()), rel=1e-2)
        assert float(ours.std()) == pytest.approx(float(other.std()), rel=5e-2)


def test_attention_knows_no_order():
    module = make("multihead_attention", (6, 9), num_heads=3)
    x, order = drawn(2, 6, 9), torch.randperm(9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(module(x[..., order]), module(x)[..., order])


def test_attention_drops_shares_in_training_only():
    module = make("multihead_attention", (6, 9), num_heads=3, dropout=0.5)
    sure = make("multihead_attention", (6, 9), num_heads=3)
    number_places(nn.Sequential(module))
    x = drawn(4, 6, 9)
    module.keep.noise_key.copy_(torch.tensor([1, 2]))
    once = module(x)
    assert torch.equal(module(x), once)
    assert not torch.allclose(once, sure(x))
    module.keep.noise_key.copy_(torch.tensor([1, 3]))
    assert not torch.equal(module(x), once)
    torch.testing.assert_close(module.eval()(x), sure(x))
    torch.testing.assert_close(make("multihead_attention", (6, 9), num_heads=3, dropout=0.0)(x),
                               sure(x))  # fmt: skip


def test_the_mean_over_many_masks_is_attention_without_dropout():
    module = make("multihead_attention", (4, 3), num_heads=2, dropout=0.3).double()
    x = drawn(1, 4, 3, dtype=torch.float64)
    total = torch.zeros(1, 4, 3, dtype=torch.float64)
    for step in range(4000):
        module.keep.noise_key.copy_(torch.tensor([5, step]))
        total += module(x).detach()
    torch.testing.assert_close(total / 4000, module.eval()(x).detach(), rtol=0, atol=0.02)


def test_attention_of_trials_with_their_own_dropout():
    module = make("multihead_attention", (6, 4), num_heads=2, dropout=torch.tensor(0.5))
    keys, shares = torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor([0.2, 0.0, 0.7])
    x = drawn(3, 2, 6, 4)

    def one(key, share, x):
        return functional_call(module, {"keep.noise_key": key, "keep.p": share}, (x,))

    together = vmap(one)(keys, shares, x)
    for trial in range(3):
        alone = make("multihead_attention", (6, 4), num_heads=2, dropout=float(shares[trial]))
        alone.keep.noise_key.copy_(keys[trial])
        torch.testing.assert_close(alone(x[trial]), together[trial])


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(UsageError, match="4 heads do not divide the 6 channels") as caught:
        layer["multihead_attention"].function((6, 9), num_heads=4)
    assert "1, 2, 3, 6" in caught.value.hint


def test_weights_of_attention_decay_and_its_biases_do_not():
    assert decayed(make("multihead_attention", (6, 9), num_heads=3)) == {
        "in_proj_weight", "out_proj.weight",
    }  # fmt: skip


# --- adaptive activations ------------------------------------------------------------------------


def test_frelu_with_a_window_of_zeros_is_relu():
    module = make("frelu", (3, 5, 6)).eval()
    x = drawn(2, 3, 5, 6)
    with torch.no_grad():
        module.conv.weight.zero_()
    torch.testing.assert_close(module(x), torch.relu(x))
    with torch.no_grad():
        module.norm.bias.fill_(-100.0)
    torch.testing.assert_close(module(x), x)


def test_frelu_compares_with_the_normalised_window():
    module = make("frelu", (3, 5, 6))
    x = drawn(4, 3, 5, 6)
    window = nn.functional.conv2d(x, module.conv.weight, padding=1, groups=3)
    mean, variance = window.mean((0, 2, 3), keepdim=True), window.var((0, 2, 3), False, True)
    expected = torch.maximum(x, (window - mean) / torch.sqrt(variance + 1e-5))
    torch.testing.assert_close(module(x), expected)


def test_dynamic_relu_without_residuals_is_relu():
    module = make("dynamic_relu", (8, 4, 4))
    with torch.no_grad():
        module.excite.weight.zero_()
        module.excite.bias.zero_()  # 2 sigmoid(0) - 1 = 0: the lines are x and 0
    x = drawn(2, 8, 4, 4)
    torch.testing.assert_close(module(x), torch.relu(x))
    with torch.no_grad():
        # Residuals of -1 for the first slopes of all channels and 1 for the rest: with lambda 1 and
        # 0.5 the lines are 0 x + 0.5 and x + 0.5.
        module.excite.bias.copy_(torch.tensor([-50.0, 50.0, 50.0, 50.0]).repeat(8))
    torch.testing.assert_close(module(x), torch.relu(x) + 0.5)


def test_dynamic_relu_is_the_largest_of_its_lines():
    module = make("dynamic_relu", (4, 3, 3), k=3, reduction=2, lambda_a=0.7, lambda_b=0.3)
    x = drawn(2, 4, 3, 3)
    hidden = torch.relu(module.squeeze(x.mean((2, 3))))
    r = (2 * torch.sigmoid(module.excite(hidden)) - 1).reshape(2, 4, 6)
    for sample in range(2):
        for channel in range(4):
            own = r[sample, channel]
            lines = [
                ((i == 0) + 0.7 * own[i]) * x[sample, channel] + 0.3 * own[3 + i] for i in range(3)
            ]
            expected = torch.stack(lines).amax(0)
            torch.testing.assert_close(module(x)[sample, channel], expected)


def test_meta_acon_is_acon_with_the_switch_of_its_network():
    module = make("meta_acon", (5, 4, 3), reduction=2)
    x = drawn(3, 5, 4, 3)
    beta = torch.sigmoid(module.fc2(module.fc1(x.mean((2, 3)))))[..., None, None]
    p1, p2 = (p.reshape(5, 1, 1) for p in (module.p1, module.p2))
    expected = activation["acon_c"].function(x, p1=p1, p2=p2, beta=beta)
    torch.testing.assert_close(module(x), expected)
    assert module.fc1.out_features == 2  # max(reduction, channels // reduction)
    assert make("meta_acon", (64, 4, 3)).fc1.out_features == 16


def test_an_even_window_has_no_middle():
    with pytest.raises(UsageError, match="frelu: a window of 4 has no middle"):
        layer["frelu"].function((3, 8, 8), kernel_size=4)

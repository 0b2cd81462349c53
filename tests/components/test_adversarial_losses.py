"""Losses of two players, at numbers that others publish, as simpler losses, and in a small game.

TF-GAN: the tests of its losses, all on the same eight scores; it smooths the labels of the real
samples by 0.25, and adds a constant to the generator's minimax loss.
"""

from typing import Any

import pytest
import torch
from torch.nn import functional

from lossbench.checks.all import check_contract
from lossbench.components.vocabulary import Terms
from lossbench.errors import UsageError
from lossbench.evaluate.losses import prepare, reduced
from lossbench.kernels import loss_function
from lossbench.registry import loss

REAL = [-5.0, 1.4, 12.5, 2.7]
FAKE = [10.0, 4.4, -5.5, 3.6]
GAMES = [
    "minimax_gan",
    "non_saturating_gan",
    "wasserstein_gan",
    "least_squares_gan",
    "hinge_gan",
    "relativistic_average_gan",
    "ebgan",
]


def mean(name: str, part: str, real: Any, fake: Any, **params: Any) -> float:
    inputs = {"d_fake": fake} if real is None else {"d_real": real, "d_fake": fake}
    call = prepare(loss.find(name), {**params, "part": part}, inputs)
    return float(reduced(call.terms(), "mean"))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def values(name: str, *inputs: Any, **more: Any) -> torch.Tensor:
    part = {"part": more.pop("part")} if "part" in more else {}
    return loss_function(loss[name], more, "formula")(*inputs, **part).values


# --- numbers of others ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "knobs", "discriminator", "generator"),
    [
        ("minimax_gan_loss", {"label_smoothing": 0.25}, 6.19637, -4.82408 + 0.313262),
        ("non_saturating_gan_loss", {"label_smoothing": 0.25}, 6.19637, 1.38582),
        ("least_squares_gan_loss", {}, 41.73375, 17.69625),
        ("wasserstein_gan_loss", {}, 0.22500, -3.12500),
        ("hinge_gan_loss", {}, 6.7500, -3.12500),
    ],
)
def test_published_numbers_of_tf_gan(
    name: str, knobs: dict[str, Any], discriminator: float, generator: float
) -> None:
    found = mean(name, "discriminator", REAL, FAKE, **knobs)
    assert found == pytest.approx(discriminator, abs=1e-5)
    assert mean(name, "generator", None, FAKE, **knobs) == pytest.approx(generator, abs=1e-5)
    patches = [[REAL[:2], REAL[2:]], [FAKE[:2], FAKE[2:]]]
    assert mean(name, "discriminator", *patches, **knobs) == pytest.approx(found)


def test_published_relativistic_numbers_of_tf_gan() -> None:
    real = [-2.0, 0.4, 12.5, 2.7]
    found = mean("relativistic_average_gan", "discriminator", real, FAKE)
    assert found == pytest.approx(4.390114, abs=1e-5)
    found = mean("relativistic_average_gan", "generator", real, FAKE)
    assert found == pytest.approx(4.9401135, abs=1e-5)


def test_published_classifier_numbers_of_tf_gan() -> None:
    fake = [[10.0, 4.4, -5.5, 3.6], [-4.0, 4.4, 5.2, 4.6], *[[1.1, 2.4, -3.5, 5.6]] * 2]
    real = [[-2.0, 0.4, 12.5, 2.7], [-1.2, 1.9, 12.3, 2.6]]
    real += [[-2.4, -1.7, 2.5, 2.7], [1.1, 2.4, -3.5, 5.6]]
    inputs = {"d_real": real, "d_fake": fake, "target": [1, 2, 0, 0]}
    for part, expected in {"discriminator": 9.43950, "generator": 3.84974}.items():
        call = prepare(loss["acgan"], {"part": part}, inputs)
        assert float(reduced(call.terms(), "mean")) == pytest.approx(expected, abs=1e-5)


def test_published_cycle_of_tf_gan() -> None:
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    y = torch.tensor([1.0, 9])
    given = (x, x + 6, y, torch.tensor([-2.0, 3]))
    assert values("cycle_consistency", *given).item() == pytest.approx(5.25)
    assert values("identity", *given, weight=2.0).item() == pytest.approx(10.5)


def test_published_gradient_penalty_of_tf_gan() -> None:
    """Its critic is 2 x, on one sample of four values: a gradient of length 4."""
    slope = torch.full((1, 4), 2.0, dtype=torch.float64)
    for knobs, expected in (({}, 9.0), ({"one_sided": True}, 9.0), ({"target": 2.0}, 1.0)):
        found = values("gradient_penalty", slope, lam=1.0, **knobs)
        assert found.item() == pytest.approx(expected, abs=1e-8)
    # What is flatter than the target costs nothing on one side.
    assert values("gradient_penalty", slope / 8, one_sided=True).item() == 0.0
    assert values("gradient_penalty", slope / 8).item() == pytest.approx(10 * 0.25, abs=1e-8)


# --- as simpler losses ------------------------------------------------------------------------


def test_discriminators_are_the_cross_entropies_of_two_labels() -> None:
    real, fake = drawn(5, 3), drawn(5, 3, seed=1)
    bce = functional.binary_cross_entropy_with_logits
    for smoothing in (0.0, 0.25):
        ones, zeros = torch.full_like(real, 1 - smoothing / 2), torch.zeros_like(fake)
        expected = bce(real, ones, reduction="none") + bce(fake, zeros, reduction="none")
        for name in ("minimax_gan", "non_saturating_gan"):
            found = values(name, real, fake, part="discriminator", label_smoothing=smoothing)
            torch.testing.assert_close(found, expected)
    generator = values("non_saturating_gan", None, fake, part="generator")
    torch.testing.assert_close(generator, bce(fake, torch.ones_like(fake), reduction="none"))
    saturating = values("minimax_gan", None, fake, part="generator")
    torch.testing.assert_close(saturating, -bce(fake, torch.zeros_like(fake), reduction="none"))


def test_games_are_losses_of_the_catalogue_on_labels() -> None:
    real, fake = drawn(6), drawn(6, seed=1)
    one, zero = torch.ones_like(real), torch.zeros_like(real)

    def of(name: str, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return values(name, scores, target)

    found = values("hinge_gan", real, fake, part="discriminator")
    torch.testing.assert_close(found, of("hinge", real, one) + of("hinge", fake, -one))
    found = values("least_squares_gan", real, fake, part="discriminator")
    torch.testing.assert_close(found, (of("mse", real, one) + of("mse", fake, zero)) / 2)
    labels = torch.tensor([0, 2, 1, 1])
    logits = drawn(4, 3)
    found = values("acgan", None, logits, labels, part="generator")
    torch.testing.assert_close(found, functional.cross_entropy(logits, labels, reduction="none"))


def test_wgan_gp_is_wasserstein_and_the_penalty() -> None:
    real, fake, gradient = drawn(5), drawn(5, seed=1), drawn(5, 2, 3, seed=2)
    expected = values("wasserstein_gan", real, fake, part="discriminator")
    expected = expected + values("gradient_penalty", gradient, lam=3.0)
    found = values("wgan_gp", real, fake, gradient, lam=3.0, part="discriminator")
    torch.testing.assert_close(found, expected)
    # Scores [N, 1], as networks give them, and gradients of another number of points.
    column = values(
        "wgan_gp", real[:, None], fake[:, None], gradient, lam=3.0, part="discriminator"
    )
    torch.testing.assert_close(column, expected[:, None])
    fewer = values("wgan_gp", real, fake, gradient[:2], lam=3.0, part="discriminator")
    penalty = values("gradient_penalty", gradient[:2], lam=3.0).mean()
    torch.testing.assert_close(fewer, (fake - real).mean() + penalty)
    torch.testing.assert_close(values("wgan_gp", None, fake, part="generator"), -fake)


def test_penalties_are_those_of_a_linear_critic() -> None:
    """D(x) = w x has slope |w| at every point."""
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    points = drawn(7, 2).requires_grad_()
    (gradient,) = torch.autograd.grad((points @ weight).sum(), points, create_graph=True)
    torch.testing.assert_close(values("r1_penalty", gradient), torch.full((7,), 125.0).double())
    steep = values("gradient_penalty", gradient)
    torch.testing.assert_close(steep, torch.full((7,), 160.0).double())
    # Through the gradient's own graph the critic learns: d/dw 10 (|w| - 1)^2 = 20 (|w| - 1) w / |w|
    (by_weight,) = torch.autograd.grad(steep.mean(), weight)
    torch.testing.assert_close(by_weight, torch.tensor([48.0, 64.0], dtype=torch.float64))


@pytest.mark.parametrize("name", GAMES)
def test_other_numbers_of_fakes_add_the_means(name: str) -> None:
    real, fake = drawn(6).abs(), drawn(6, seed=1).abs()
    alike = values(name, real, fake, part="discriminator").mean()
    doubled = values(name, real, torch.cat([fake, fake]), part="discriminator")
    assert doubled.shape == ()
    torch.testing.assert_close(doubled, alike)


@pytest.mark.parametrize("name", ["wasserstein_gan", "hinge_gan", "relativistic_average_gan"])
def test_what_counts_is_the_difference_or_the_margin(name: str) -> None:
    real, fake = drawn(6), drawn(6, seed=1)
    before = values(name, real, fake, part="discriminator").mean()
    moved = values(name, real + 1.5, fake + 1.5, part="discriminator").mean()
    assert torch.isclose(before, moved) == (name != "hinge_gan")


# --- the others -------------------------------------------------------------------------------


def test_loss_sensitive_margin_is_the_distance_of_the_pair() -> None:
    real, fake = torch.tensor([0.5, 0.5]), torch.tensor([0.7, 3.0])
    x, made = torch.zeros(2, 4), torch.tensor([[1.0, -1, 1, -1], [0, 0, 0, 2]])
    # Distances 1 and 0.5: broken by 1 + 0.5 - 0.7 = 0.8, and kept by the second.
    found = values("loss_sensitive_gan", real, fake, x, made, part="discriminator", lam=2.0)
    torch.testing.assert_close(found, torch.tensor([2.1, 0.5]))
    square = values("loss_sensitive_gan", real, fake, x, 2 * made, part="discriminator", p=2)
    torch.testing.assert_close(square, torch.tensor([0.5 + 3.8, 0.5 + 1.5]))
    torch.testing.assert_close(values("loss_sensitive_gan", None, fake, part="generator"), fake)
    call = prepare(loss["loss_sensitive_gan"], {"part": "generator"}, {"d_fake": fake})
    torch.testing.assert_close(call.terms().values, fake)


def test_ebgan_by_hand() -> None:
    found = values(
        "ebgan", torch.tensor([1.0, 2.0]), torch.tensor([3.0, 12.0]), part="discriminator"
    )
    torch.testing.assert_close(found, torch.tensor([8.0, 2.0]))


def test_began_finds_its_balance() -> None:
    """k rises while fakes have less energy than gamma times the real, and stays within [0, 1]."""
    game = loss_function(loss["began"], {"gamma": 0.5, "lambda_k": 0.1}, "formula")
    real, fake = torch.tensor([4.0, 2.0]), torch.tensor([1.0, 0.0])
    k = torch.tensor(0.0)
    seen = []
    for _ in range(12):
        terms = game(real, fake, k=k, part="discriminator")
        assert isinstance(terms, Terms)
        torch.testing.assert_close(terms.values, real - k * fake)
        assert terms.state is not None
        k = terms.state["k"]
        seen.append(float(k))
    assert seen[:2] == pytest.approx([0.1, 0.2])
    assert seen[-1] == 1.0
    falling = game(real, 9 * fake, k=torch.tensor(0.2), part="discriminator")
    assert falling.state is not None
    assert float(falling.state["k"]) == 0.0
    generator = game(None, fake, k=k, part="generator")
    torch.testing.assert_close(generator.values, fake)
    assert generator.state is not None
    assert generator.state["k"] is k


def test_feature_matching_sees_means_alone() -> None:
    real, fake = drawn(6, 3), drawn(4, 3, seed=1)
    found = values("feature_matching", real, fake)
    torch.testing.assert_close(found, ((real.mean(0) - fake.mean(0)) ** 2).sum())
    torch.testing.assert_close(values("feature_matching", real, real.flip(0)).item(), 0.0)


def test_a_game_is_won() -> None:
    """A generator of one number finds the data's mean against a linear critic of bounded slope."""
    made = torch.zeros((), requires_grad=True)
    slope = torch.zeros((), requires_grad=True)
    real = 2 + 0.1 * drawn(16).float()
    for _ in range(400):
        scores = slope * real, slope * (made.detach() + torch.zeros(16))
        grade = values("wasserstein_gan", *scores, part="discriminator").mean()
        grade = grade + values("r1_penalty", slope.reshape(1, 1), gamma=2.0).mean()
        (by_slope,) = torch.autograd.grad(grade, slope)
        slope.data -= 0.2 * by_slope
        scored = slope.detach() * made[None]
        wish = values("wasserstein_gan", None, scored, part="generator").mean()
        (by_made,) = torch.autograd.grad(wish, made)
        made.data -= 0.1 * by_made
    assert float(made.detach()) == pytest.approx(float(real.mean()), abs=0.02)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GAMES, "wgan_gp", "began", "loss_sensitive_gan"])
def test_discriminator_needs_real_scores(name: str) -> None:
    more = {"k": torch.tensor(0.0)} if name == "began" else {}
    with pytest.raises(UsageError, match="needs d_real"):
        loss_function(loss[name], {}, "formula")(
            *[None if one == "d_real" else drawn(3) for one in loss[name].inputs],
            part="discriminator",
            **more,
        )


def test_what_a_game_refuses() -> None:
    with pytest.raises(UsageError, match="pairs"):
        values("loss_sensitive_gan", drawn(3), drawn(4), drawn(3), drawn(4), part="discriminator")
    with pytest.raises(UsageError, match="say which part"):
        prepare(loss["hinge_gan"], {}, {"d_real": REAL, "d_fake": FAKE})
    with pytest.raises(UsageError, match="part of hinge_gan"):
        prepare(loss["hinge_gan"], {"part": "critic"}, {"d_real": REAL, "d_fake": FAKE})
    for ambiguous in ("lsgan", "LSGAN"):  # two of these losses have been given that name
        with pytest.raises(UsageError):
            loss.find(ambiguous)


def test_contracts_look_at_both_players() -> None:
    def blind(d_real: Any, d_fake: Any, *, part: str) -> Any:
        if part == "discriminator":
            return d_fake - d_real
        return torch.nan_to_num(-d_fake)

    facts: dict[str, Any] = {"inputs": {"d_real": "scores", "d_fake": "scores"}}
    entry = loss.entry(blind, parts=("discriminator", "generator"), **facts)
    assert check_contract(entry, "nan").verdict == "failed"
    assert check_contract(entry, "gradient").verdict == "passed"

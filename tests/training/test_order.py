"""The order of the samples: every epoch another one, each trial its own, nothing left out."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from lossbench.training.order import Order, mix

SIZES = st.integers(min_value=1, max_value=40)


def rows(order: Order, epoch: int, first: int = 0) -> list[list[torch.Tensor]]:
    return list(order.epoch(epoch, first))


def samples(order: Order, epoch: int, trial: int = 0) -> list[int]:
    return [int(row) for step in rows(order, epoch) for batch in step for row in batch[trial]]


@given(SIZES, SIZES, st.integers(min_value=1, max_value=5), st.booleans())
def test_an_epoch_is_every_sample_once_in_batches_of_the_size(count, size, accumulate, drop):
    size = min(size, count)
    order = Order([5], count, size, accumulate=accumulate, drop_last=drop)
    steps = rows(order, 1)
    assert len(steps) == order.steps_per_epoch
    assert all(len(step) == accumulate for step in steps[:-1])
    sizes = [batch.shape[1] for step in steps for batch in step]
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert order.batch_sizes == {n: sizes.count(n) for n in sizes}
    seen = samples(order, 1)
    assert len(set(seen)) == len(seen)
    assert len(seen) == (count - count % size if drop else count)


def test_every_epoch_has_an_order_of_its_own():
    order = Order([5], 50, 10)
    orders = [tuple(samples(order, epoch)) for epoch in range(1, 30)]
    assert len(set(orders)) == len(orders)
    assert tuple(range(50)) not in orders


def test_every_seed_has_an_order_of_its_own_whatever_its_neighbours():
    group = Order([5, 6, 7], 50, 10)
    assert len({tuple(samples(group, 1, trial)) for trial in range(3)}) == 3
    for trial, seed in enumerate((5, 6, 7)):
        assert samples(Order([seed], 50, 10), 3) == samples(group, 3, trial)


def test_an_epoch_can_be_entered_at_any_step():
    order = Order([5, 6], 50, 8, accumulate=2)
    whole = rows(order, 2)
    for first in range(len(whole) + 1):
        rest = rows(order, 2, first)
        assert len(rest) == len(whole) - first
        for step, again in zip(whole[first:], rest, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(step, again, strict=True))


def test_each_place_is_held_by_each_sample_equally_often():
    count, epochs = 6, 3000
    order = Order([5], count, 2)
    places = torch.zeros(count, count)
    for epoch in range(epochs):
        places[torch.arange(count), torch.tensor(samples(order, epoch))] += 1
    expected = epochs / count
    # Chi squared with 25 degrees of freedom: above 60 once in ten thousand.
    assert float(((places - expected) ** 2 / expected).sum()) < 60


def test_neighbouring_seeds_and_epochs_mix_to_unrelated_numbers():
    mixed = [mix(seed, epoch) for seed, epoch in itertools.product(range(40), range(40))]
    assert len(set(mixed)) == len(mixed)
    assert all(0 <= number < 2**63 for number in mixed)
    for bit in range(63):
        share = sum(number >> bit & 1 for number in mixed) / len(mixed)
        assert abs(share - 0.5) < 0.06  # four deviations and more

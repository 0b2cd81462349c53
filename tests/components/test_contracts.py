"""Every component of the catalogue against every contract of its kind.

These are the checks that `lossbench check` runs; a component that is added tomorrow is held to
them without an edit here.
"""

import pytest

from lossbench.checks.all import CONTRACTS, check_contract
from lossbench.registry import KINDS, Entry

CASES = [
    pytest.param(entry, name, id=f"{kind}-{entry.name}-{name}")
    for kind, contracts in CONTRACTS.items()
    for entry in KINDS[kind].values()
    for name in contracts
]


@pytest.mark.parametrize(("entry", "contract"), CASES)
@pytest.mark.filterwarnings("error:There is a performance drop")  # vmap looping over a kernel
@pytest.mark.filterwarnings("ignore:reduction. .mean. divides:UserWarning")  # kl_div says so
def test_contract_holds(entry: Entry, contract: str) -> None:
    finding = check_contract(entry, contract)
    assert finding.verdict != "failed", finding.words

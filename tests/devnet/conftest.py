"""What tests of the forger share."""

from itertools import islice

import pytest

from devnet.forge.forger import ForgedBlock, forge
from tests.devnet.forged import BLOCKS, RECIPE


@pytest.fixture(scope="session")
def forged() -> list[ForgedBlock]:
    return list(islice(forge(RECIPE), BLOCKS))

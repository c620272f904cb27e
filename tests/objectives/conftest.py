"""What the tests of training have in common."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Train as a trainer does: threads of several test processes would wait for each other."""
    torch.set_num_threads(1)

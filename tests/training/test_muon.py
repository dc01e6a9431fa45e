"""Muon: what it promises about each step."""

import pytest
import torch

from cutaway.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 5, 5)])
def test_singular_values_end_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_matrices_of_one_shape_are_stepped_as_if_alone() -> None:
    start = [torch.randn(4, 6, generator=torch.Generator().manual_seed(i)) for i in range(3)]

    def stepped(which: list[int]) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(start[i].clone()) for i in which]
        optimizer = Muon(parameters, lr=0.1, weight_decay=0.1)
        for _ in range(3):
            for p in parameters:
                p.grad = p.detach() ** 2
            optimizer.step()
        return [p.detach() for p in parameters]

    torch.testing.assert_close(stepped([0, 1, 2]), [stepped([i])[0] for i in range(3)])


def test_a_quadratic_comes_down() -> None:
    target = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    p = torch.nn.Parameter(torch.zeros(6, 6))
    optimizer = Muon([p], lr=0.2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (p - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10

"""NorMuon: the promises about each step."""

import pytest
import torch

from cutaway.training.muon import ADAMW_RMS, NorMuon, orthogonalise


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    parameters: dict[str, torch.Tensor] = {name: torch.nn.Parameter(value.clone()) for name, value in named.items()}
    for name, p in parameters.items():
        p.grad = normal(*p.shape, seed=len(name))
    return parameters


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 5, 5)])
def test_singular_values_end_near_one(shape: tuple[int, ...]) -> None:
    values = torch.linalg.svdvals(orthogonalise(normal(*shape)))
    assert values.min() > 0.6
    assert values.max() < 1.2


def test_matrices_are_multiplied_in_a_dtype() -> None:
    orthogonal = orthogonalise(normal(1, 4, 6), torch.bfloat16)
    assert orthogonal.dtype == torch.float32
    assert torch.equal(orthogonal, orthogonal.bfloat16().float())


def test_the_singular_vectors_stay() -> None:
    matrix = normal(6, 6)
    u, _, vh = torch.linalg.svd(matrix)
    torch.testing.assert_close(orthogonalise(matrix[None])[0], u @ vh, atol=0.3, rtol=0)


def test_matrices_of_one_shape_are_stepped_as_if_alone() -> None:
    named = {f"h.{i}.mlp.c_fc.weight": normal(4, 6, seed=i) for i in range(3)}

    def stepped(names: list[str]) -> list[torch.Tensor]:
        parameters = with_gradients({name: named[name] for name in names})
        optimizer = NorMuon(parameters, torch.float32)
        for _ in range(3):
            optimizer.step(0.1, 0.95, 0.1)
        return [p.detach() for p in parameters.values()]

    torch.testing.assert_close(stepped(list(named)), [stepped([name])[0] for name in named])


def test_queries_keys_and_values_are_made_orthogonal_apart() -> None:
    parameters = with_gradients({"h.0.attn.c_attn.weight": normal(12, 4)})
    gradient = parameters["h.0.attn.c_attn.weight"].grad
    assert gradient is not None
    gradient[:4] *= 1000  # larger queries must not make the keys' and values' share of the update smaller
    optimizer = NorMuon(parameters, torch.float32)
    update = optimizer._orthogonal(0.0)["h.0.attn.c_attn.weight"]
    norms = [float(part.norm()) for part in update.chunk(3, dim=0)]
    assert norms == pytest.approx([2.0, 2.0, 2.0], rel=0.1)


def test_an_update_has_the_size_that_its_rate_says_and_weights_decay() -> None:
    start = normal(8, 16)
    parameters = with_gradients({"w": start})
    NorMuon(parameters, torch.float32).step(lr=0.5, momentum=0.9, weight_decay=0.2)
    update = parameters["w"].detach() - start * (1 - 0.5 * 0.2)
    assert float(update.square().mean().sqrt()) == pytest.approx(0.5 * ADAMW_RMS, rel=1e-4)


def test_momentum_is_nesterovs() -> None:
    """After one gradient g and a zero one, plain momentum would still point along g with weight 0.9 * 0.1."""
    parameters = with_gradients({"w": torch.zeros(3, 3)})
    optimizer = NorMuon(parameters, torch.float32)
    gradient = parameters["w"].grad
    assert gradient is not None
    seen = []

    def record(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        seen.append(matrices[0].clone())
        return matrices

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cutaway.training.muon.orthogonalise", record)
        first = gradient.clone()
        optimizer.step(0.1, 0.9, 0.0)
        second = gradient.mul_(-2).clone()
        optimizer.step(0.1, 0.9, 0.0)
    velocity = 0.1 * first
    torch.testing.assert_close(seen[0], 0.1 * first + 0.9 * velocity)
    velocity = 0.9 * velocity + 0.1 * second
    torch.testing.assert_close(seen[1], 0.1 * second + 0.9 * velocity)


def test_a_gradient_of_zero_moves_nothing() -> None:
    parameters = with_gradients({"w": normal(4, 4)})
    parameters["w"].grad = torch.zeros(4, 4)
    start = parameters["w"].detach().clone()
    NorMuon(parameters, torch.float32).step(lr=0.5, momentum=0.9, weight_decay=0.0)
    torch.testing.assert_close(parameters["w"].detach(), start)


def test_each_output_has_a_second_moment_of_its_own() -> None:
    """Three steps of a tall matrix, whose orthogonal rows are of unequal length, beside the steps written out."""
    weights = normal(7, 3)
    gradients = [normal(7, 3, seed=seed) for seed in (1, 2, 3)]
    parameters = with_gradients({"w": weights})
    optimizer = NorMuon(parameters, torch.float32)
    expected = weights.clone()
    velocity = torch.zeros(7, 3)
    second = torch.zeros(7)
    for gradient in gradients:
        parameters["w"].grad = gradient.clone()
        optimizer.step(lr=0.1, momentum=0.9, weight_decay=0.2)
        velocity = 0.9 * velocity + 0.1 * gradient
        direction = orthogonalise((0.1 * gradient + 0.9 * velocity)[None])[0]
        second = 0.95 * second + 0.05 * (direction**2).mean(1)
        scaled = direction / second.sqrt()[:, None]
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * ADAMW_RMS * scaled / (scaled**2).mean().sqrt()
    torch.testing.assert_close(parameters["w"].detach(), expected)

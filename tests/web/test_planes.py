"""Planes that were measured through a model's weights, as surfaces to race on."""

import json
import zipfile

import numpy as np
import pytest
import torch

from thalweg import errors
from thalweg.minimization import minimize
from thalweg.web.documents import landscape
from thalweg.web.playground import playground, race
from thalweg.web.playground.measured import Bicubic, plane
from thalweg.web.playground.surfaces import SURFACES


@pytest.fixture
def study(tmp_path):
    """A study's folder with a plane: a parabola and its description."""
    x, y = np.linspace(-3, 5, 17), np.linspace(-2, 2, 13)
    losses = (x[None] - 1) ** 2 / 4 + (y[:, None] + 0.5) ** 2 + 0.1 * x[None] * y[:, None]
    marks = [{"step": 20, "at": [1.0, 0.0]}, {"step": 0, "at": [-2.5, 1.5]}]
    said = {"task": "digits", "planes": [{"kind": "pca", "axes": ["u", "v"], "checkpoints": marks}]}
    folder = tmp_path / "study"
    folder.mkdir()
    np.savez_compressed(folder / "landscape.npz", **{"pca|x": x, "pca|y": y, "pca|losses": losses})
    (folder / "landscape.json").write_text(json.dumps(said))
    return folder


def test_a_measured_plane_is_raced_on(study):
    found = playground({"digits-1": study})
    (view,) = [one for one in found["surfaces"] if one["kind"] == "plane"]
    assert view["id"] == "digits-1:pca" and view["start"] == [-2.5, 1.5]
    assert "interpolated" in view["shows"] and "all dimensions" in view["does_not_show"]
    request = {"surface": view["id"], "steps": 80, "noise": 0.05, "seed": 2, "goal": 0}
    found = race({**request, "racers": [{"rule": "adam", "options": {"lr": 0.1}}]}, {"digits-1": study})
    fn = lambda p: (p[0] - 1) ** 2 / 4 + (p[1] + 0.5) ** 2 + 0.1 * p[0] * p[1]  # noqa: E731
    result = minimize(fn, [-2.5, 1.5], rule="adam", lr=0.1, steps=80, gradient_noise=0.05, seed=2, engine="reference")
    # The interpolation is exact on parabolas, so the race is the one on the formula.
    np.testing.assert_allclose(found["racers"][0]["x"], result.path[:, 0], rtol=1e-5, atol=1e-6)
    assert playground([study])["surfaces"][-1]["id"] == "study:pca"
    card = playground({"digits-1": study}, live=False)["presets"][0]
    assert card["surface"] == "digits-1:pca" and len(card["result"]["racers"]) == 8


def test_interpolation_is_exact_at_the_points_and_smooth_between():
    random = np.random.default_rng(1)
    x, y, values = np.linspace(-1, 2, 9), np.linspace(0, 3, 7), random.normal(size=(7, 9))
    surface = Bicubic(x, y, values)
    at = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
    np.testing.assert_allclose(surface(at).numpy(), values, atol=1e-13)
    points = torch.from_numpy(random.uniform((-1, 0), (2, 3), size=(50, 2)))
    assert torch.autograd.gradcheck(surface, points.requires_grad_(), eps=1e-6, atol=1e-6)
    wide = torch.from_numpy(random.uniform((-3, -2), (4, 5), size=(80, 2))).requires_grad_()
    (slopes,) = torch.autograd.grad(surface(wide).sum(), wide)
    np.testing.assert_allclose(surface.gradient(wide.detach().numpy()), slopes, rtol=1e-12, atol=1e-12)
    for step in (1e-9, -1e-9):  # the gradient is continuous across a border of cells
        beside = torch.tensor([[x[4] + step, 1.234]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(surface(beside).sum(), beside)
        middle = torch.tensor([[x[4], 1.234]], dtype=torch.float64, requires_grad=True)
        np.testing.assert_allclose(slope, torch.autograd.grad(surface(middle).sum(), middle)[0], atol=1e-6)


def test_outside_of_the_plane_there_is_a_wall():
    surface = Bicubic(np.linspace(0, 1, 5), np.linspace(0, 1, 5), np.tile(np.linspace(1, 0, 5), (5, 1)))
    beyond = torch.tensor([1.0, 1.5, 2.0, 3.0], dtype=torch.float64)
    heights = surface(torch.stack([beyond, torch.full((4,), 0.5, dtype=torch.float64)], -1))
    assert (heights.diff() > 0).all() and heights[0].abs() < 1e-12


def test_holes_in_a_plane_stand_high(study):
    with np.load(study / "landscape.npz") as arrays:
        kept = dict(arrays)
    kept["pca|losses"][0, :3] = np.inf
    np.savez_compressed(study / "landscape.npz", **kept)
    surface = plane("a", study)
    assert "as high as the highest: 3." in surface.shows
    values = surface.view()["values"]
    assert all(value is not None for value in values) and max(values) < 30


def test_a_plane_that_would_not_fit_is_not_unpacked(study, monkeypatch):
    with zipfile.ZipFile(study / "landscape.npz", "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("more.npy", bytes(300_000))
    monkeypatch.setattr(landscape, "MOST", 200_000)
    assert (study / "landscape.npz").stat().st_size < 200_000
    with pytest.raises(errors.BadStudy, match="too large"):
        plane("a", study)
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)


def test_a_plane_for_which_there_is_no_memory(study):
    with zipfile.ZipFile(study / "landscape.npz", "w") as packed, packed.open("pca|x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**58,)})
    with pytest.raises(errors.BadStudy, match="cannot be read"):
        plane("a", study)
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)


@pytest.mark.parametrize("damage", ["deep", "json", "npz", "keys", "shape", "uneven", "pickle"])
def test_a_plane_that_cannot_be_read(study, damage):
    with np.load(study / "landscape.npz") as arrays:
        kept = dict(arrays)
    if damage == "deep":
        (study / "landscape.json").write_text("[" * 5000 + "]" * 5000)
    elif damage == "json":
        (study / "landscape.json").write_text("{")
    elif damage == "npz":
        (study / "landscape.npz").write_bytes(b"PK\x03\x04 nothing")
    else:
        change = {
            "keys": {"pca|x": None},
            "shape": {"pca|losses": np.ones((3, 3))},
            "uneven": {"pca|x": np.geomspace(1, 9, 17)},
            "pickle": {"pca|losses": np.array([object()], dtype=object)},
        }[damage]
        merged = {name: value for name, value in (kept | change).items() if value is not None}
        np.savez_compressed(study / "landscape.npz", **merged)
    with pytest.raises(errors.BadStudy, match="cannot be read"):
        race({"surface": "a:pca", "racers": [{"rule": "sgd"}]}, {"a": study})
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)

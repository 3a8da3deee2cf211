import pytest
import torch
from networks import PICTURES, Deep, Residual, Shared, Tied, mlp, plain_cnn, transformer
from torch import nn
from torch.nn.utils import parametrizations

from thalweg.wiring import wiring


def found(model, *shape, x=None):
    x = torch.randn(*shape) if x is None else x
    return {layer.weight: layer for layer in wiring(model, lambda m: m(x))}


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (nn.ReLU, "relu"), (lambda: nn.ReLU(inplace=True), "relu"), (nn.Tanh, "tanh"), (nn.Sigmoid, "sigmoid"),
        (nn.GELU, "gelu"), (nn.SiLU, "silu"), (lambda: nn.LeakyReLU(0.2), "leaky_relu"), (nn.ELU, "elu"),
        (nn.Mish, "mish"), (nn.Hardtanh, "hardtanh"), (nn.Softplus, "softplus"), (nn.Identity, None),
    ],
)  # fmt: skip
def test_the_non_linearity_behind_a_layer(act, name):
    layers = found(mlp(act), 6, 4)
    assert [layer.activation for layer in layers.values()] == [name, name, None]
    assert name != "leaky_relu" or layers["0.weight"].numbers == (0.2,)
    assert [layer.output for layer in layers.values()] == [False, False, True]
    assert [layer.inputs for layer in layers.values()] == [(), ("0.weight",), ("2.weight",)]
    assert [layer.bias for layer in layers.values()] == ["0.bias", "2.bias", "4.bias"]


def test_functions_count_as_modules_do_and_norms_and_branches_are_seen():
    layers = found(Residual(), *PICTURES)
    assert [(layer.kind, layer.activation) for layer in layers.values()] == [
        ("convolution", None), ("convolution", "relu"), ("convolution", "relu"), ("linear", None)
    ]  # fmt: skip
    assert layers["a.weight"].norm == "n1.weight" and layers["b.weight"].norm == "n2.weight"
    assert layers["b.weight"].branch == "n2.weight" and layers["a.weight"].branch is None
    assert layers["a.weight"].block == layers["b.weight"].block == 0 and layers["stem.weight"].block is None
    assert found(Residual(norm=False), *PICTURES)["b.weight"].branch == "b.weight"


def test_blocks_are_numbered_and_the_input_counts_as_what_goes_around():
    layers = found(Deep(4, 3), 5, 4)
    assert [layer.block for layer in layers.values()] == [0, 0, 1, 1, 2, 2, None]
    assert [bool(layer.branch) for layer in layers.values()] == [False, True] * 3 + [False]


def test_a_shared_layer_is_one_that_is_used_more_often():
    layers = found(Shared(), 6, 4)
    assert list(layers) == ["stem.weight", "block.0.weight", "head.weight"]
    assert [layer.uses for layer in layers.values()] == [1, 3, 1]


def test_attention_embeddings_and_tied_weights():
    layers = found(Tied(), x=torch.randint(11, (2, 5)))
    assert layers["token.weight"].kind == "embedding" and "head.weight" not in layers
    assert layers["token.weight"].uses == 2 and layers["token.weight"].bias is None
    assert layers["layer.self_attn.in_proj_weight"].bias == "layer.self_attn.in_proj_bias"
    assert layers["layer.self_attn.out_proj.weight"].branch and layers["layer.linear2.weight"].branch
    assert layers["layer.linear1.weight"].activation == "relu"
    assert [layer.block for layer in found(transformer(), 2, 5, 8).values()] == [0, 0, 1, 1, 2, 2, 3, 3, None]


def test_positions_and_masks_are_no_residual_branches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place, self.head = nn.Embedding(7, 4), nn.Embedding(3, 4), nn.Linear(4, 2)
            self.register_buffer("mask", torch.zeros(2, 3, 4))

        def forward(self, x):
            return self.head(self.token(x) + self.place(torch.arange(3)) + self.mask)

    layers = found(Net(), x=torch.randint(7, (2, 3)))
    assert len(layers) == 3 and not any(layer.branch for layer in layers.values())


def test_weights_that_are_calculated_and_recurrent_ones():
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2))
    layers = found(net, 3, 4)
    assert [layer.name for layer in layers.values()] == ["0", "2"]
    assert next(iter(layers)).startswith("0.parametrizations.weight")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(4, 5, 2, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    kinds = [layer.kind for layer in found(Net(), 2, 3, 4).values()]
    assert kinds == ["recurrent"] * 4 + ["linear"]


def test_the_model_is_as_before():
    net = Residual().train()
    net.a.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    wiring(net, lambda m: m(torch.zeros(PICTURES)))
    with pytest.raises(RuntimeError):
        wiring(net, lambda m: m(torch.zeros(2, 2)))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and torch.equal(
        state, torch.get_rng_state()
    )
    assert net.training and not net.a.training and all(p.grad is None for p in net.parameters())
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_under_autocast():
    x = torch.randn(PICTURES)

    def forward(model):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    layers = wiring(plain_cnn(), forward)
    assert [layer.weight for layer in layers] == ["0.weight", "2.weight", "5.weight"]
    assert [layer.activation for layer in layers] == ["relu", "relu", None]

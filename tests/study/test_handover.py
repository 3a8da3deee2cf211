"""The lines to paste, executed: in a plain loop, in a LightningModule, in a Hugging Face Trainer."""

import ast
import inspect
import logging
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import thalweg as tw
from thalweg import loop, rules
from thalweg.schedules import SCHEDULES
from thalweg.study import handover

SEED, BATCH = 3, 16
GROUPS = {"head.*": {"lr_scale": 10, "weight_decay": 0}, "*.bias": {"lr": 0.02}}
RECIPES = [
    *(tw.Recipe(name, lr=0.02) for name in rules.TABLE),
    *(tw.Recipe("adam", lr=0.02, schedule=name) for name in SCHEDULES),
    *(tw.Recipe("sgd", lr=0.1, schedule=name, warmup=7) for name in SCHEDULES),
    tw.Recipe("sgd", lr=0.1, warmup=0.5),
    tw.Recipe("adamw", lr=0.02, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6, amsgrad=True),
    tw.Recipe("rmsprop", lr=0.01, alpha=0.9, centered=True, momentum=0.5, clip_norm=0.3, weight_decay=0.01),
    tw.Recipe("adagrad", lr=0.05, lr_decay=0.01, initial_accumulator_value=0.1),
    tw.Recipe("nesterov", lr=0.05, momentum=0.95, weight_decay=1e-3, clip_norm=1),
    tw.Recipe("momentum", lr=0.02, groups=GROUPS, clip_norm=0.5),
    tw.Recipe("adamw", lr=0.02, freeze=["stem.*"], groups=GROUPS),
    tw.Recipe("adam", lr=0.02, layer_decay=0.5, freeze=["head.bias"], schedule="cosine", clip_norm=0.2),
]
FEW = [
    tw.Recipe("momentum", lr=0.05, schedule="cosine", clip_norm=0.5),
    tw.Recipe("adamw", lr=0.02, warmup=7, freeze=["stem.*"], groups=GROUPS, clip_norm=0.5),
    tw.Recipe("rmsprop", lr=0.01, layer_decay=0.5, schedule="1/sqrt(t)"),
]


def network(dropout=0.0):
    layers = {"stem": nn.Linear(4, 12), "drop": nn.Dropout(dropout), "body": nn.Linear(12, 8), "head": nn.Linear(8, 3)}
    return nn.Sequential(OrderedDict(layers))


def task_of(toy, **fields):
    fields = {"model": network, "batch_size": BATCH, "epochs": 4, "name": "named"} | fields
    return tw.Task(train=toy.train, valid=toy.valid, **fields)


def execute(code, **names):
    for line in code.splitlines():
        assert len(line) <= 120, line
    exec(compile(code, "pasted", "exec"), names)
    return names


def batches_of(task, recipe, count):
    """The batches of the first updates, as (inputs, targets)."""
    updates = loop.updates(task.prepare().train, recipe.batch_size or BATCH, task.accumulate, seed=SEED)
    return [(batch.inputs, batch.targets) for _, group in zip(range(count), updates) for batch, _ in group]  # noqa: B905


def expected(task, recipe):
    """Our own run: losses, rates, final weights."""
    run, cohort = loop.run(task, recipe, SEED)
    assert run.outcome.status == "finished"
    return run.trace.loss, run.trace.lr, cohort.weights()


def check(found, wanted):
    (losses, rates, weights), (our_losses, our_rates, our_weights) = found, wanted
    assert losses == pytest.approx(our_losses, rel=1e-5)
    assert rates == pytest.approx(our_rates, rel=1e-12)
    for name, value in our_weights.items():
        assert torch.allclose(weights[name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_plain_loop_repeats_a_run(toy, recipe):
    task = task_of(toy, model=lambda: network(0.2))
    ours = expected(task, recipe)
    done = execute(handover.plain_torch(recipe, len(ours[0]), None, SEED, BATCH), task=task)
    check((done["losses"], ours[1], done["model"].state_dict()), ours)
    frozen = [name for name, p in done["model"].named_parameters() if not p.requires_grad]
    assert bool(frozen) == bool(recipe.freeze)
    start = dict(task.build(SEED).named_parameters())
    assert all(torch.equal(done["model"].get_parameter(name), start[name]) for name in frozen)


@pytest.mark.parametrize("size", [16, 40, "full"])
def test_the_plain_loop_takes_the_batch_size_and_accumulates(toy, size):
    task, recipe = task_of(toy, accumulate=3), tw.Recipe("adam", lr=0.02, batch_size=size)
    ours = expected(task, recipe)
    done = execute(handover.plain_torch(recipe, len(ours[0]), None, SEED, size, 3), task=task)
    check((done["losses"], ours[1], done["model"].state_dict()), ours)


def test_the_plain_loop_finds_a_task_by_its_name():
    recipe = tw.Recipe("momentum", lr=0.1)
    run, _ = loop.run(tw.Task.load("digits"), recipe, SEED, steps=20)
    done = execute(handover.plain_torch(recipe, 20, "digits", SEED, 64))
    assert done["losses"] == pytest.approx(run.trace.loss, rel=1e-5)


@pytest.fixture
def quiet_lightning():
    lightning = pytest.importorskip("lightning.pytorch", reason="extra: lightning")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return lightning


def settings_in(code, name):
    """The keyword arguments of the call that a docstring of the code shows."""
    function = next(node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == name)
    call = ast.parse(ast.get_docstring(function).split("\n\n", 1)[1]).body[0].value
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")  # lightning's own
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("recipe", FEW, ids=str)
def test_lightning_follows_the_same_course(toy, quiet_lightning, recipe, wrapped, accumulate):
    task = task_of(toy, accumulate=accumulate)
    ours = expected(task, recipe)
    code = handover.lightning(recipe, len(ours[0]), accumulate)
    if wrapped:  # as the comment in the code says
        code = code.replace("model = self ", "model = self.model ")
    losses, rates = [], []

    class Module(quiet_lightning.LightningModule):
        configure_optimizers = execute(code)["configure_optimizers"]

        def __init__(self):
            super().__init__()
            if wrapped:
                self.model = task.build(SEED)
            else:
                for name, part in task.build(SEED).named_children():
                    setattr(self, name, part)

        def forward(self, x):
            return self.model(x) if wrapped else self.head(self.body(self.drop(self.stem(x))))

        def training_step(self, batch, index):
            loss = F.cross_entropy(self(batch[0]), batch[1])
            losses.append(loss.item())
            return loss

        def on_before_optimizer_step(self, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    given = settings_in(code, "configure_optimizers")
    module = Module()
    quiet_lightning.Trainer(
        **given, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(batches_of(task, recipe, len(ours[0])), batch_size=None))  # fmt: skip
    means = [sum(losses[i : i + accumulate]) / accumulate for i in range(0, len(losses), accumulate)]
    check((means, rates, (module.model if wrapped else module).state_dict()), ours)


@pytest.fixture
def transformers(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "1")
    return pytest.importorskip("transformers", reason="extra: transformers")


class WithLoss(nn.Module):
    """A network as the Trainer wants it: the output is a dict with the loss."""

    def __init__(self, net):
        super().__init__()
        self.net, self.losses = net, []

    def forward(self, inputs, labels):
        logits = self.net(inputs)
        loss = F.cross_entropy(logits, labels)
        self.losses.append(loss.item())
        return {"loss": loss, "logits": logits}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("recipe", FEW, ids=str)
def test_the_hugging_face_trainer_follows_the_same_course(toy, transformers, recipe, accumulate):
    task = task_of(toy, accumulate=accumulate)
    ours = expected(task, recipe)
    code = handover.trainer(recipe, len(ours[0]), accumulate)
    batches = [{"inputs": x, "labels": y} for x, y in batches_of(task, recipe, len(ours[0]))]

    class SameBatches(transformers.Trainer):
        def get_train_dataloader(self):
            return DataLoader(batches, batch_size=None)

    model, rates = WithLoss(task.build(SEED)), []
    pair = execute(code)["optimizers"](model.net)
    pair[0].register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    arguments = transformers.TrainingArguments(
        **settings_in(code, "optimizers"), output_dir="trained", use_cpu=True, report_to="none", disable_tqdm=True,
        save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    SameBatches(model, arguments, train_dataset=batches, optimizers=pair).train()
    losses = model.losses
    means = [sum(losses[i : i + accumulate]) / accumulate for i in range(0, len(losses), accumulate)]
    check((means, rates, model.net.state_dict()), ours)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_schedule_is_ours_and_needs_no_more_than_it_uses(recipe):
    for steps in (1, 7, 40):
        factor, ours = (
            execute("import math\n" + handover.factor_code(recipe, steps))["factor"],
            recipe.multiplier(steps),
        )
        assert [factor(k) for k in range(steps)] == pytest.approx([ours(k) for k in range(steps)], rel=1e-12)
    unknown, ours = execute("import math\n" + handover.factor_code(recipe, 0))["factor"], recipe.multiplier(None)
    assert [unknown(k) for k in range(50)] == pytest.approx([ours(k) for k in range(50)], rel=1e-12)
    for code in (handover.lightning(recipe, 40), handover.trainer(recipe, 40)):
        names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        imported = {alias.name for node in ast.parse(code).body if isinstance(node, ast.Import) for alias in node.names}
        assert imported == names & {"math", "torch", "thalweg"}


def test_our_defaults_are_torchs_or_are_written_out():
    for name, rule in rules.TABLE.items():
        code = ast.parse(handover.optimizer_call(tw.Recipe(name, lr=0.1))).body[0].value
        module = torch.optim if "torch" in ast.unparse(code.func) else tw.optim
        torchs = inspect.signature(getattr(module, code.func.attr)).parameters
        written = {keyword.arg: ast.literal_eval(keyword.value) for keyword in code.keywords}
        for option in rule.options:
            if option.name not in ("lr", "weight_decay"):  # those are the recipe's, always written
                assert written.get(option.name, torchs[option.name].default) == option.default, (name, option.name)


def test_long_calls_and_odd_names_stay_within_the_line():
    names = [f"a'very\"odd\\name{i}.*" for i in range(9)]
    recipe = tw.Recipe("adam", lr=1 / 3, betas=(0.1 + 0.2, 0.95), groups={n: {"lr_scale": 2} for n in names})
    model = nn.Module()
    for name in names:
        model.add_module(name.removesuffix(".*"), nn.Linear(1, 1)) if "." not in name.removesuffix(".*") else None
    optimizer, _ = execute(handover.trainer(recipe, 10**9))["optimizers"](model)
    assert len(optimizer.param_groups) == 9
    assert optimizer.param_groups[0]["initial_lr"] == 2 / 3 and math.isclose(optimizer.defaults["betas"][0], 0.3)


def test_the_lines_build_the_model_that_the_recipe_says(toy):
    task = task_of(toy, model=lambda: nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)))
    recipe = tw.Recipe("adam", lr=0.02, norm="batch", init="lsuv+output_bias", groups={"0.norm.*": {"lr_scale": 2}})
    ours = expected(task, recipe)
    done = execute(handover.plain_torch(recipe, len(ours[0]), None, SEED, BATCH), task=task)
    check((done["losses"], ours[1], done["model"].state_dict()), ours)
    for lines in (handover.lightning(recipe, 20), handover.trainer(recipe, 20)):
        assert 'thalweg.Recipe(norm="batch", init="lsuv+output_bias").initialize(model, inputs, targets)' in lines


def test_the_lines_give_the_rates_of_mup(toy):
    task = task_of(toy, model=lambda: nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)))
    recipe = tw.Recipe("adam", lr=0.02, init="mup(3)", freeze=["0.bias"])
    ours = expected(task, recipe)
    done = execute(handover.plain_torch(recipe, len(ours[0]), None, SEED, BATCH), task=task)
    check((done["losses"], ours[1], done["model"].state_dict()), ours)
    assert sorted({g["initial_lr"] for g in done["optimizer"].param_groups}) == pytest.approx([0.005, 0.02])

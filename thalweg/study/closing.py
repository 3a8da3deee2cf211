"""The end of a comparison: verdict, hand-over, documents."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .. import variants
from ..building import built
from ..console import duration
from ..curvature import sharpness
from ..errors import BadOption
from ..store import FORMAT, Store, load_weights
from . import best_so_far, handover, work
from .case import Case
from .conductor import Conductor
from .horizons import ranking_change, trend_of
from .jobs import Findings, Job, Scale, variant_id
from .standing import Question, Standing
from .statistics import mean_interval, smallest_difference
from .study import Study
from .verdict import judge
from .words import warnings

CURVED = 20_000_000  # parameters up to which curvature is measured: it takes a dozen vectors of float64
FIT_ROWS = 500  # a loop of the user's does not say how many examples it judges on: δ is then .2 points


def close(
    conductor: Conductor,
    findings: Findings,
    effort: str,
    own: bool,
    delta: float | None,
    scale: Scale,
    presets: Sequence[str],
) -> Study:
    """Verdict, hand-over, documents."""
    case, store = conductor.case, conductor.store
    assert store is not None
    metric = conductor.metric or "loss"
    least = delta if delta is not None else _delta(case, metric, findings)
    question = Question(
        case.name, metric, conductor.sign, least, scale.resolution, effort, own, case.fixed_weights,
        "the judge half of the validation data" if case.task else "the loop's own report", scale.rows,
    )  # fmt: skip
    conductor.progress.at("step times, test set")
    standing_seconds = {} if conductor.interrupted else _own_seconds(conductor, findings, scale)
    trends = {f.entrant.name: trend_of(f, scale) for f in findings.finalists}
    verdict, standings = judge(findings, question, standing_seconds, trends)
    curved = _curvature(conductor) if verdict.best is None and not conductor.interrupted else None
    if curved is not None:
        first, second, third = verdict.sentences
        verdict = replace(verdict, sentences=(first, f"{second} {curved['sentence']}", third))
    rankings = _rankings(findings, standings)
    changes = _ranking_changes(findings, rankings, scale)
    document = {
        "study": str(store.folder),
        "task": case.name,
        "steps": scale.steps,
        "verdict": verdict.as_dict(),
        "finalists": [s.as_dict() for s in standings],
        "best": None,
        "not_tried": findings.not_tried,
        "notes": [*case.notes, *presets, *conductor.notes, *findings.notes, *warnings(standings, changes, least)],
        "rankings": rankings,
        "ranking_changes": changes,
        "diverged": _divergences(conductor),
        "curvature": curved,
        "executor": conductor.head["executor"] or conductor.measured,
    }
    runs_in_order = [conductor.result(conductor.known[key]) for key in conductor.order]
    document |= best_so_far.report(runs_in_order, conductor.sign)
    best = next((s for s in standings if s.name == verdict.best), None)
    if best is not None:
        document["steps"] = scale.of(best.recipe).steps
        document["best"] = _hand_over(conductor, best, scale.of(best.recipe).steps, metric)
    if not conductor.interrupted:
        _prune(store, standings, best)
    runs = conductor.known.values()
    document["cost"] = {
        "runs": len(runs),
        "samples": sum(record["samples"] for record in runs),
        "seconds": round(conductor.purse.seconds, 3),
    }
    store.write("verdict.json", document)
    if not conductor.interrupted:
        conductor.head["complete"] = True
        store.write("study.json", {"format": FORMAT} | conductor.head)
    conductor.progress.say(f"{len(runs)} runs in {duration(conductor.purse.seconds)}.")
    return Study.load(store.folder, case.task)


def _delta(case: Case, metric: str, findings: Findings) -> float:
    try:
        return smallest_difference(metric, case.judge_rows or FIT_ROWS, case.target_sd)
    except BadOption:  # a metric of the user's: one per cent of the baseline's value
        values = [abs(r.judge) for f in findings.finalists[:1] for r in f.results.values() if math.isfinite(r.judge)]
        return 0.01 * sum(values) / len(values) if values else 0.0


def _own_seconds(conductor: Conductor, findings: Findings, scale: Scale) -> dict[str, float]:
    """Seconds of a full run by finalist: steps × the recipe's own step time, measured alone with all threads."""
    task = conductor.case.task
    found = {}
    for f in findings.finalists:
        if not f.results:
            continue
        if task is None:
            times = [r.record["seconds"] for r in f.results.values() if r.record]
            found[f.entrant.name] = sum(times) / len(times) if times else math.nan
        elif conductor.purse.deadline - time.monotonic() + conductor.purse.reserve / 2 > 0:
            steps = scale.of(f.recipe).steps
            job = Job.of("time", f.entrant, f.recipe, 0, min(work.TIMING_STEPS, steps))
            variant = variants.of(task, dict(job.arguments))
            found[f.entrant.name] = steps * work.seconds_per_step(variant, [job], 0.1)
    return found


def _curvature(conductor: Conductor) -> dict[str, Any] | None:
    """What the surface says where runs do not: the largest eigenvalue at the initial weights, and the edge it sets."""
    task, purse = conductor.case.task, conductor.purse
    if task is None or purse.deadline - time.monotonic() + purse.reserve / 2 <= 0:
        return None
    data = task.prepare()
    if data.parameters > CURVED:
        return None
    batch = next(iter(data.train.training(data.batch_size, [task.seed])))
    try:
        largest = sharpness(task, task.build(task.seed).train(), batch.of(0))
    except (RuntimeError, ValueError):  # an operator without a second derivative, or numbers that are not finite
        return None
    if not 0 < largest < math.inf:
        return None
    edge = 2 / largest
    said = f"Curvature at the initial weights (λmax {largest:.3g}): sgd at a constant rate is stable there below {edge:.3g}."
    return {"largest": largest, "edge": edge, "rows": batch.rows, "sentence": said}


def _rankings(findings: Findings, standings: Sequence[Standing]) -> dict[str, list[str]]:
    """The tuned entrants from best to worst in the short probes, at the full horizon, and in the finals."""
    tuned = {f.entrant.name: f for f in findings.finalists if f.choice}

    def order(best: dict[str, float]) -> list[str]:
        return sorted(best, key=lambda name: -best[name])

    probes = {name: [r.select for r in f.probed.values() if math.isfinite(r.select)] for name, f in tuned.items()}
    full = {name: f.choice.predicted for name, f in tuned.items() if f.choice}
    return {
        "probes": order({name: max(values) for name, values in probes.items() if values}),
        "full": order(full),
        "finals": [s.name for s in standings if s.name in tuned],
    }


def _ranking_changes(findings: Findings, rankings: dict[str, list[str]], scale: Scale) -> list[dict[str, Any]]:
    """What changes between the rankings of two horizons, and what the earlier leader lacks at the later one."""
    if not rankings["probes"]:
        return []
    change = ranking_change(rankings["probes"], rankings["full"])
    full = {f.entrant.name: f.choice.predicted for f in findings.finalists if f.choice}
    lost = full[change["leader"][1]] - full[change["leader"][0]] if change["leader"] else 0.0
    return [{"steps": [scale.probe, scale.steps], "lost": lost} | change]


def _divergences(conductor: Conductor) -> list[dict[str, Any]]:
    """Every diverged run, with where and why."""
    return [
        {
            "entrant": r["entrant"],
            "lr": r["recipe"].get("lr"),
            "seed": r["seed"],
            "phase": r["phase"],
            "steps": r["steps"],
        }
        | r["outcome"]
        for r in map(conductor.known.__getitem__, conductor.order)
        if r["outcome"]["status"] == "diverged"
    ]


def _hand_over(conductor: Conductor, best: Standing, steps: int, metric: str) -> dict[str, Any]:
    """Recipe, weights (reloaded and checked), the test set's value, the lines to paste."""
    store, task = conductor.store, conductor.case.task
    assert store is not None
    folder = store.folder
    best.recipe.save(folder / "recipe.toml")
    batches = task.accumulate if task else 1
    (folder / "lightning.py").write_text(handover.lightning(best.recipe, steps, batches), encoding="utf-8")
    (folder / "trainer.py").write_text(handover.trainer(best.recipe, steps, batches), encoding="utf-8")
    entry: dict[str, Any] = {
        "recipe": best.recipe.as_dict(),
        "arguments": best.arguments,
        "recipe_file": "recipe.toml",
        "model_file": None,
        "test": None,
    }
    if task is None:
        return entry
    batch_size = best.recipe.batch_size or task.prepare().batch_size
    source, seed = conductor.case.source, best.seeds[0]
    script = handover.plain_torch(best.recipe, steps, source, seed, batch_size, task.accumulate, best.arguments)
    (folder / "plain.py").write_text(script, encoding="utf-8")
    task = variants.of(task, best.arguments)
    arguments = tuple(sorted(best.arguments.items()))
    jobs = [Job("final", best.name, best.recipe, s, steps, arguments) for s in best.seeds]
    files = [store.models / f"{job.key}.safetensors" for job in jobs]
    files = [file for file in files if file.exists()]
    if not files:
        return entry
    weights = load_weights(files[0])
    model, done = built(task, best.recipe, best.seeds[0])
    if done:
        (folder / "built.txt").write_text("\n".join(map(str, [*done, ""])), encoding="utf-8")
    model.load_state_dict(weights)
    store.save_weights("../model", weights)
    entry["model_file"] = "model.safetensors"
    test, values = task.prepare().test, list[float]()
    if test is None:
        return entry
    for file in files:
        if values and time.monotonic() > conductor.purse.deadline + conductor.purse.reserve / 2:
            break
        model.load_state_dict(load_weights(file))
        values.append(task.evaluate(model, test)[metric])
    low, high = mean_interval(values) if len(values) > 1 else (-math.inf, math.inf)
    entry["test"] = {
        "mean": sum(values) / len(values),
        "interval": [low, high],
        "metric": metric,
        "models": len(values),
    }
    return entry


def _prune(store: Store, standings: Sequence[Standing], best: Standing | None) -> None:
    """Keep the weights of the best recipe's finals and of the first final of each other finalist."""
    ids = {s.name: f"-{variant_id(s.recipe, tuple(sorted(s.arguments.items())))}-" for s in standings}
    first = min((seed for s in standings for seed in s.seeds), default=0)
    for file in store.models.glob("*.safetensors"):
        own = best is not None and ids[best.name] in file.name
        if not own and not (file.stem.endswith(f"-{first}") and any(part in file.name for part in ids.values())):
            file.unlink()

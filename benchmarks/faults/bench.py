"""One case and seed: what is said of it, whether that is right, what its remedy does, and what the published rules say."""

from __future__ import annotations

import time
import warnings
from typing import Any

from thalweg.diagnosis.findings import Finding

from .baselines import BASELINES
from .cases import Case, named
from .loops import play
from .scores import score
from .setting import Fault, Setting
from .trace import trace

BUDGET = 200  # gradient evaluations of a diagnosis
TRIED = 3  # seeds on which the remedy is tried, and the published rules are asked
SHOWN = 5  # findings that a reader sees


def alarms(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are more than notes, of those that are shown."""
    return [f for f in findings[:SHOWN] if f["severity"] != "note"]


def diagnosed(setting: Setting, seed: int) -> tuple[list[Finding], Any]:
    """What is said of a setting, and the diagnosis itself; of a loop of one's own what is seen from inside, and None."""
    import thalweg as tw

    if setting.loop is None:
        found = tw.diagnose(setting.task, setting.recipe, model=setting.model, budget=BUDGET)
        return list(found.findings), found
    steps = setting.task.prepare().steps // setting.loop.accumulate
    history = play(setting.task, setting.recipe, setting.loop, seed, steps, watch=tw.watch)
    return list(history.watch.findings), None


def remedied(case: Case, setting: Setting, finding: Finding, seed: int) -> dict[str, float] | None:
    """The errors of the healthy setting, of the faulty one and of that with the remedy; None: it cannot be tried here."""
    fault = case.what
    if not isinstance(fault, Fault) or fault.measure != "trained" or setting.loop is not None or finding.remedy is None:
        return None
    changed = finding.remedy.applied(setting.task, setting.recipe)
    if changed is None:
        return None
    made = {
        "healthy": fault.healthy(case.start(seed), seed),
        "faulty": setting,
        "remedied": Setting(*changed),
    }
    return {name: score(one, fault.measure, seed, case.chance) for name, one in made.items()}


def measured(case: Case, seed: int) -> dict[str, Any]:
    """The record of one case and seed; an exception of the diagnosis is recorded, and counts as having said nothing."""
    warnings.simplefilter("ignore")
    record: dict[str, Any] = {
        "case": case.name, "seed": seed, "family": case.family, "half": case.half, "codes": sorted(case.codes),
    }  # fmt: skip
    setting, findings, whole = case.setting(seed), list[Finding](), None
    started = time.perf_counter()
    try:
        findings, whole = diagnosed(setting, seed)
    except Exception as error:  # one that fails must not end the bench
        record["error"] = f"{type(error).__name__}: {error}"
    record["seconds"] = time.perf_counter() - started
    record["evaluations"] = (getattr(whole, "cost", None) or {}).get("gradient_evaluations")
    record["findings"] = [
        {"code": f.code, "severity": f.severity, "where": f.where, "confidence": f.confidence} for f in findings
    ]
    if seed < TRIED:
        record["baselines"] = {name: sorted(rule) for name, rule in asked(case, seed).items()}
        if findings and case.codes:
            record["remedy"] = remedied(case, setting, findings[0], seed)
    if seed == 0 and whole is not None and case.codes and findings and whole.changed(0) is not None:
        whole.verify()
        outcome = whole.findings[0].outcome
        record["outcome"] = None if outcome is None else outcome.as_dict() | {"helps": outcome.helps}
    return record


def asked(case: Case, seed: int) -> dict[str, set[str]]:
    """What the published rules say of the same case."""
    seen = trace(case.setting(seed), seed)
    return {name: rule(seen) for name, rule in BASELINES.items()}


def record_of(key: tuple[str, int]) -> dict[str, Any]:
    """The record of a case's name and a seed."""
    return measured(named(key[0]), key[1])

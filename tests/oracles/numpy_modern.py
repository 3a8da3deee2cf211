"""The modern rules in float64 NumPy, written down from the papers; see ``numpy_rules`` for the interface."""

import numpy as np


def keep(x):
    return x


def clip(x, bound):
    return np.clip(x, -bound, bound)


def lion(p, grads, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, store=keep):
    m = np.zeros_like(p)
    for g in grads:
        update = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p, m = store(p - lr * (update + weight_decay * p)), store(betas[1] * m + (1 - betas[1]) * g)
    return p, {"exp_avg": m}


def signum(p, grads, lr=1e-4, momentum=0.9, weight_decay=0.0, store=keep):
    m = np.zeros_like(p)
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        p, m = store(p - lr * (np.sign(m) + weight_decay * p)), store(m)
    return p, {"momentum_buffer": m} if momentum else {}


def half_life(beta):
    """How many steps it takes a weight in the average to halve, less one."""
    return np.log(0.5) / np.log(beta) - 1


def ademamix(
    p, grads, lr=1e-3, betas=(0.9, 0.999, 0.9999), eps=1e-8, weight_decay=0.0, alpha=2.0, T_alpha=None, T_beta3=None,
    store=keep,
):  # fmt: skip
    fast, slow, v = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        mix, beta3 = alpha, betas[2]
        if T_alpha is not None and t < T_alpha:
            mix = t * alpha / T_alpha
        if T_beta3 is not None and t < T_beta3:
            start = half_life(betas[0]) if betas[0] > 0 else half_life(1e-8)
            life = start + t / T_beta3 * (half_life(betas[2]) - start)
            beta3 = 0.5 ** (1 / (life + 1))
        fast = betas[0] * fast + (1 - betas[0]) * g
        slow = beta3 * slow + (1 - beta3) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        fast_hat, v_hat = fast / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = store(p - lr * ((fast_hat + mix * slow) / (np.sqrt(v_hat) + eps) + weight_decay * p))
        fast, slow, v = store(fast), store(slow), store(v)
    return p, {"exp_avg_fast": fast, "exp_avg_slow": slow, "exp_avg_sq": v}


def mars(p, grads, lr=3e-3, betas=(0.95, 0.99), eps=1e-8, weight_decay=0.0, gamma=0.025, store=keep):
    m, v, last = np.zeros_like(p), np.zeros_like(p), None
    for t, g in enumerate(grads, 1):
        c = g if last is None else g + gamma * betas[0] / (1 - betas[0]) * (g - last)
        norm = np.linalg.norm(c)
        if norm > 1:
            c = c / norm
        m = betas[0] * m + (1 - betas[0]) * c
        v = betas[1] * v + (1 - betas[1]) * c**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = store(p - lr * (m_hat / (np.sqrt(v_hat) + eps) + weight_decay * p))
        m, v, last = store(m), store(v), store(g)
    return p, {"exp_avg": m, "exp_avg_sq": v, "last_grad": last}


def adopt(p, grads, lr=1e-3, betas=(0.9, 0.9999), eps=1e-6, weight_decay=0.0, clip_exponent=0.25, store=keep):
    m, v = np.zeros_like(p), store(grads[0] ** 2)
    p = store(p - lr * weight_decay * p)
    for t, g in enumerate(grads[1:], 1):
        normed = g / np.maximum(np.sqrt(v), eps)
        if clip_exponent is not None:
            normed = clip(normed, t**clip_exponent)
        m = betas[0] * m + (1 - betas[0]) * normed
        p = store(p - lr * (m + weight_decay * p))
        m, v = store(m), store(betas[1] * v + (1 - betas[1]) * g**2)
    return p, {"exp_avg": m, "exp_avg_sq": v}


def laprop(p, grads, lr=4e-4, betas=(0.9, 0.999), eps=1e-15, weight_decay=0.0, store=keep):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        v = betas[1] * v + (1 - betas[1]) * g**2
        m = betas[0] * m + (1 - betas[0]) * g / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        p = store(p - lr * (m / (1 - betas[0] ** t) + weight_decay * p))
        m, v = store(m), store(v)
    return p, {"exp_avg": m, "exp_avg_sq": v}


def schedule_free(y, grads, beta, direction, lr, weight_decay, warmup_steps, r, weight_lr_power, store):
    """Three sequences: gradients at y, steps of z, the weighted average x; ``direction(g, t)`` is the base optimizer."""
    z, total, largest = y, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        x = (y - (1 - beta) * z) / beta
        rate = lr * t / warmup_steps if t < warmup_steps else lr
        largest = max(largest, rate)
        weight = t**r * largest**weight_lr_power
        total += weight
        c = weight / total if total > 0 else 0.0
        z = z - rate * (direction(g, t) + weight_decay * y)
        x = (1 - c) * x + c * z
        y, z = store((1 - beta) * z + beta * x), store(z)
    return y, {"z": z, "weight_sum": total, "lr_max": largest}


def schedulefreesgd(
    p, grads, lr=1.0, momentum=0.9, weight_decay=0.0, warmup_steps=0, r=0.0, weight_lr_power=2.0, store=keep
):
    schedule = (lr, weight_decay, warmup_steps, r, weight_lr_power, store)
    return schedule_free(p, grads, momentum, lambda g, t: g, *schedule)


def schedulefreeadamw(
    p, grads, lr=2.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0, r=0.0, weight_lr_power=2.0,
    store=keep,
):  # fmt: skip
    v = np.zeros_like(p)

    def normed(g, t):
        nonlocal v
        new = betas[1] * v + (1 - betas[1]) * g**2
        v = store(new)
        return g / (np.sqrt(new / (1 - betas[1] ** t)) + eps)

    schedule = (lr, weight_decay, warmup_steps, r, weight_lr_power, store)
    p, states = schedule_free(p, grads, betas[0], normed, *schedule)
    return p, {"exp_avg_sq": v, **states}


def adan(p, grads, lr=1e-3, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0, no_prox=False, store=keep):
    m, v, n, last = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p), grads[0]
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * (g - last)
        n = betas[2] * n + (1 - betas[2]) * (g + betas[1] * (g - last)) ** 2
        m_hat, v_hat, n_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t), n / (1 - betas[2] ** t)
        update = lr * (m_hat + betas[1] * v_hat) / (np.sqrt(n_hat) + eps)
        p = store(p - lr * weight_decay * p - update if no_prox else (p - update) / (1 + lr * weight_decay))
        m, v, n, last = store(m), store(v), store(n), store(g)
    return p, {"exp_avg": m, "exp_avg_diff": v, "exp_avg_sq": n, "pre_grad": last}


def stableadamw(p, grads, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=1e-2, store=keep):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        rms = np.sqrt(np.mean(g**2 / np.maximum(v_hat, eps**2)))
        eta = lr / max(1.0, rms)
        p = store(p - eta * weight_decay * p - eta * m_hat / (np.sqrt(v_hat) + eps))
        m, v = store(m), store(v)
    return p, {"exp_avg": m, "exp_avg_sq": v}


def adabelief(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, store=keep):
    m, s = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * (g - m) ** 2 + eps
        m_hat, s_hat = m / (1 - betas[0] ** t), s / (1 - betas[1] ** t)
        p = store(p - lr * (m_hat / (np.sqrt(s_hat) + eps) + weight_decay * p))
        m, s = store(m), store(s)
    return p, {"exp_avg": m, "exp_avg_var": s}


def yogi(p, grads, lr=1e-2, betas=(0.9, 0.999), eps=1e-3, weight_decay=0.0, initial_accumulator_value=1e-6, store=keep):
    m, v = np.zeros_like(p), store(np.full_like(p, initial_accumulator_value))
    for t, g in enumerate(grads, 1):
        g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = v - (1 - betas[1]) * np.where(v > g**2, g**2, np.where(v < g**2, -(g**2), 0))
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p, m, v = store(p - lr * m_hat / (np.sqrt(v_hat) + eps)), store(m), store(v)
    return p, {"exp_avg": m, "exp_avg_sq": v}


ORACLES = {
    "lion": lion,
    "ademamix": ademamix,
    "mars": mars,
    "adopt": adopt,
    "laprop": laprop,
    "schedulefreeadamw": schedulefreeadamw,
    "schedulefreesgd": schedulefreesgd,
    "adan": adan,
    "stableadamw": stableadamw,
    "adabelief": adabelief,
    "signum": signum,
    "yogi": yogi,
}

SMALL = {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}

VARIANTS = {
    "lion": [{}, {"betas": (0.8, 0.95), "weight_decay": 0.1}],
    "ademamix": [
        {},
        {"betas": (0.8, 0.9, 0.99), "eps": 1e-3, "weight_decay": 0.1, "alpha": 5.0},
        {"T_alpha": 4, "T_beta3": 9},
        {"betas": (0.0, 0.9, 0.99), "T_beta3": 30},
    ],
    "mars": [{}, {**SMALL, "gamma": 0.1}, {"gamma": 0.0}],
    "adopt": [{}, SMALL, {"clip_exponent": None, "betas": (0.5, 0.99)}, {"clip_exponent": 0.0}],
    "laprop": [{}, SMALL],
    "schedulefreeadamw": [
        {},
        {**SMALL, "warmup_steps": 5},
        {"warmup_steps": 4, "r": 1.0, "weight_lr_power": 1.0},
        {"weight_lr_power": 0.0, "r": 0.5},
    ],
    "schedulefreesgd": [
        {},
        {"momentum": 0.5, "weight_decay": 0.1, "warmup_steps": 5},
        {"warmup_steps": 4, "r": 1.0, "weight_lr_power": 0.0},
    ],
    "adan": [
        {},
        {"betas": (0.9, 0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
        {"weight_decay": 0.1, "no_prox": True},
    ],
    "stableadamw": [{}, SMALL, {"weight_decay": 0.0, "betas": (0.5, 0.999)}],
    "adabelief": [{}, SMALL, {"eps": 1e-8}],
    "signum": [{}, {"momentum": 0.5, "weight_decay": 0.1}, {"momentum": 0.0}],
    "yogi": [{}, {**SMALL, "initial_accumulator_value": 0.5}],
}

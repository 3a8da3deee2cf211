"""The rules in float64 NumPy, written down from the papers: plain loops over given gradients.

Each function returns the parameter after the last gradient and the states by torch's names. ``store`` rounds what is
kept between steps, as a parameter and states in a low precision are rounded.
"""

import numpy as np


def keep(x):
    return x


def sgd(p, grads, lr=1e-2, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, store=keep):
    velocity = None
    for g in grads:
        g = g + weight_decay * p
        if momentum != 0:
            velocity = g if velocity is None else momentum * velocity + (1 - dampening) * g
            direction = g + momentum * velocity if nesterov else velocity
            velocity = store(velocity)
        else:
            direction = g
        p = store(p - lr * direction)
    return p, {} if velocity is None else {"momentum_buffer": velocity}


def momentum(p, grads, momentum=0.9, **options):
    return sgd(p, grads, momentum=momentum, **options)


def nesterov(p, grads, momentum=0.9, **options):
    return sgd(p, grads, momentum=momentum, nesterov=True, **options)


def adagrad(p, grads, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, store=keep):
    total = np.full_like(p, initial_accumulator_value)
    for t, g in enumerate(grads, 1):
        g = g + weight_decay * p
        total = total + g**2
        rate = lr / (1 + (t - 1) * lr_decay)
        p = store(p - rate * g / (np.sqrt(total) + eps))
        total = store(total)
    return p, {"sum": total}


def rmsprop(p, grads, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, store=keep):
    square, mean, buffer = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        g = g + weight_decay * p
        square = alpha * square + (1 - alpha) * g**2
        mean = alpha * mean + (1 - alpha) * g
        variance = np.maximum(square - mean**2, 0) if centered else square
        scaled = g / (np.sqrt(variance) + eps)
        if momentum != 0:
            scaled = buffer = momentum * buffer + scaled
        p, square, mean, buffer = store(p - lr * scaled), store(square), store(mean), store(buffer)
    states = {"square_avg": square}
    if centered:
        states["grad_avg"] = mean
    if momentum != 0:
        states["momentum_buffer"] = buffer
    return p, states


def adam(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False, store=keep):
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        if not decoupled:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        m_hat = m / (1 - betas[0] ** t)
        v_hat = (largest if amsgrad else v) / (1 - betas[1] ** t)
        decay = lr * weight_decay * p if decoupled else 0.0
        p = store(p - lr * m_hat / (np.sqrt(v_hat) + eps) - decay)
        m, v, largest = store(m), store(v), store(largest)
    states = {"exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        states["max_exp_avg_sq"] = largest
    return p, states


def adamw(p, grads, weight_decay=1e-2, **options):
    return adam(p, grads, weight_decay=weight_decay, decoupled=True, **options)


ORACLES = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}

VARIANTS = {
    "sgd": [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.8},
        {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ],
    "momentum": [{}, {"momentum": 0.5, "dampening": 0.5}],
    "nesterov": [{}, {"momentum": 0.5, "weight_decay": 0.1}],
    "adagrad": [{}, {"lr_decay": 0.1, "weight_decay": 0.1}, {"initial_accumulator_value": 0.5, "eps": 1e-3}],
    "rmsprop": [
        {},
        {"alpha": 0.9, "weight_decay": 0.1, "eps": 1e-3},
        {"momentum": 0.8},
        {"centered": True},
        {"centered": True, "momentum": 0.8, "weight_decay": 0.1},
    ],
    "adam": [{}, {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}, {"amsgrad": True, "betas": (0.5, 0.6)}],
    "adamw": [{}, {"weight_decay": 0.0}, {"amsgrad": True, "weight_decay": 0.2, "betas": (0.5, 0.6)}],
}

CASES = [(name, options) for name, variants in VARIANTS.items() for options in variants]

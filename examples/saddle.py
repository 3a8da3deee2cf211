"""Any rule on any function: how many steps each needs to leave a saddle point."""

import thalweg as tw


def saddle(p):
    x, y = p
    return x**2 / 2 + y**4 / 4 - y**2 / 2


for rule in ("sgd", "momentum", "nesterov", "adagrad", "adam", "rmsprop"):
    options = {"alpha": 0.9} if rule == "rmsprop" else {}
    result = tw.minimize(
        saddle, [1.0, 1e-6], rule=rule, lr=0.05, steps=2000, until=lambda p: abs(p[1]) > 0.5, **options
    )
    print(f"{rule:<9} {result.nit:>4} steps")

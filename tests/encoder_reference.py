"""SatCLIP's location encoder as it was published, on arrays of NumPy or tensors of PyTorch.

Every formula is written out, one column at a time, without a thought for speed or for accuracy near
the poles: `library` is either module, and the names used here mean the same in both.
"""

import math


def legendre(library, x, degree, order):
    """P_l^m(x) with the Condon-Shortley phase, not normalised."""
    value = library.ones_like(x)
    for k in range(order):
        value = -value * (2 * k + 1) * library.sqrt((1 - x) * (1 + x))
    before = 0 * x
    for k in range(order + 1, degree + 1):
        after = ((2 * k - 1) * x * value - (k + order - 1) * before) / (k - order)
        before, value = value, after
    return value


def column(library, lat, lon, degree, order, calculation):
    """One of the published real harmonics."""
    phi, theta = library.deg2rad(lon + 180), library.deg2rad(lat + 90)
    m = abs(order)
    scale = (2 * degree + 1) / (4 * math.pi)
    scale = math.sqrt(scale * math.factorial(degree - m) / math.factorial(degree + m))
    value = scale * legendre(library, library.cos(theta), degree, m)
    if order:
        turn = library.cos(m * phi) if order > 0 else library.sin(m * phi)
        value = math.sqrt(2) * value * turn
    if calculation == "closed-form":
        return value
    # sqrt((2 l + 1) / 4 · π) in place of sqrt((2 l + 1) / (4 π)); and (-1)^m undoes the phase.
    return (-1) ** m * value if order else math.pi * value


def features(library, lat, lon, degrees, calculation="analytic"):
    """(n, L²) harmonics."""
    columns = [
        column(library, lat, lon, degree, order, calculation)
        for degree in range(degrees)
        for order in range(-degree, degree + 1)
    ]
    return library.stack(columns, -1)


def vectors(library, lat, lon, layers, degrees, calculation="analytic"):
    """(n, p): two layers with sines, the first of 30 times the frequency, and one without."""
    units = features(library, lat, lon, degrees, calculation)
    for place, (weight, bias) in enumerate(layers):
        units = units @ weight.T + bias
        if place < len(layers) - 1:
            units = library.sin((1 if place else 30) * units)
    return units

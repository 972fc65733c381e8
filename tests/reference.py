"""The float64 reference: one subset, one fold, one fit at a time, with scikit-learn.

Nothing here is fast and nothing is shared between fits; that is the point. Columns and regression
targets are standardised over the whole table (population deviation), as protocol `paper` says.
"""

import dataclasses
import functools
import itertools

import numpy as np
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler


def all_subsets(names):
    """Every non-empty set of names, by size, joined by `+` in the given order."""
    names = list(names)
    sets = (s for size in range(1, len(names) + 1) for s in itertools.combinations(names, size))
    return ["+".join(s) for s in sets]


def columns_of(embeddings, subset):
    """(n, p) standardised columns of a subset."""
    x = np.concatenate([np.asarray(embeddings[m], float) for m in subset.split("+")], axis=1)
    return StandardScaler().fit_transform(x)


def splits(n, folds, seed):
    return list(KFold(folds, shuffle=True, random_state=seed).split(np.zeros(n)))


def great_circle_km(lat, lon, lat_of, lon_of):
    """Distances by the haversine formula; degrees in, arrays as they broadcast."""
    lat, lon, lat_of, lon_of = map(np.radians, (lat, lon, lat_of, lon_of))
    half = np.sin((lat - lat_of) / 2) ** 2
    half = half + np.cos(lat) * np.cos(lat_of) * np.sin((lon - lon_of) / 2) ** 2
    return 2 * 6371 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def similarity_histogram(lat, lon, share):
    """(100, 100) weights by distance below 1,000 km and similarity, one pair after the other."""
    found = np.zeros((100, 100))
    distances, similarities = np.linspace(0, 1000, 101), np.linspace(0, 1, 101)
    for i in range(len(lat)):
        km = great_circle_km(lat[i], lon[i], lat[:i], lon[:i])
        for j in np.flatnonzero(km < 1000):
            similarity = 1 - (share[i] - share[j]) ** 2
            row = np.searchsorted(distances, km[j], side="right") - 1
            column = min(np.searchsorted(similarities, similarity, side="right") - 1, 99)
            found[row, column] += max(share[i], share[j])
    return found


def entropy_range(histogram):
    """The paper's range in km, by SciPy's curve fit to the columns of distance that have weight."""
    known = histogram.sum(1) > 0
    entropy = np.array([stats.entropy(row) for row in histogram[known]])
    entropy, t = entropy / entropy.max(), (np.arange(100) * 10 / 990)[known]

    def curve(t, d):
        return 1 - (1 - entropy[0]) * np.exp(-t / d)

    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    return 1000 * optimize.curve_fit(curve, t, entropy, p0=0.1, **tight)[0][0]


def empirical_variogram(lat, lon, y, edges):
    """Pairs, summed distances and summed half squared differences (3, b), pair by pair.

    Of text, two rows differ by 1 or 0.
    """
    found = np.zeros((3, len(edges) - 1))
    for i in range(len(y)):
        km = great_circle_km(lat[i], lon[i], lat[:i], lon[:i])
        for j in np.flatnonzero((km > 1e-7) & (km < edges[-1])):
            half = (y[i] - y[j]) ** 2 / 2 if y.dtype.kind == "f" else float(y[i] != y[j])
            found[:, np.searchsorted(edges, km[j], side="right") - 1] += 1, km[j], half
    return found


def ridge_predictions(x, y, training, held_out, ridge_lambda):
    """(h, t) predictions of one fold; x and y standardised."""
    model = Ridge(alpha=ridge_lambda, solver="svd").fit(x[training], y[training])
    return model.predict(x[held_out]).reshape(len(held_out), -1)


@dataclasses.dataclass(frozen=True)
class RidgeReference:
    """One subset, one seed.

    Attributes:
      r2, mse: (k,) of each fold, all targets together.
      target_r2: (k, t).
      predictions: (n, t), in standard deviations.
      y: (n, t) the standardised targets.
      pooled: R² of all out-of-fold predictions together.
    """

    r2: np.ndarray
    mse: np.ndarray
    target_r2: np.ndarray
    predictions: np.ndarray
    y: np.ndarray
    pooled: float


def ridge(embeddings, subset, y, folds=20, seed=42, ridge_lambda=1.0):
    """All folds of one subset."""
    x = columns_of(embeddings, subset)
    y = StandardScaler().fit_transform(np.asarray(y, float).reshape(len(x), -1))
    predictions = np.empty_like(y)
    r2, mse, target_r2 = [], [], []
    for training, held_out in splits(len(x), folds, seed):
        found = ridge_predictions(x, y, training, held_out, ridge_lambda)
        predictions[held_out] = found
        r2.append(r2_score(y[held_out], found, multioutput="variance_weighted"))
        mse.append(((y[held_out] - found) ** 2).mean())
        target_r2.append(r2_score(y[held_out], found, multioutput="raw_values"))
    pooled = r2_score(y, predictions, multioutput="variance_weighted")
    return RidgeReference(*map(np.array, (r2, mse, target_r2)), predictions, y, pooled)


def logistic_probabilities(x, labels, classes, training, held_out, logistic_c):
    """(h, c) probabilities of one fold; a class absent from the training rows has 0."""
    model = LogisticRegression(C=logistic_c, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    model.fit(x[training], labels[training])
    probabilities = np.zeros((len(held_out), len(classes)))
    places = [list(classes).index(c) for c in model.classes_]
    probabilities[:, places] = model.predict_proba(x[held_out])
    return probabilities


def logistic(embeddings, subset, labels, folds=20, seed=42, logistic_c=1.0):
    """(n, c) out-of-fold probabilities of one subset, classes sorted."""
    x = columns_of(embeddings, subset)
    classes = np.unique(labels)
    probabilities = np.empty((len(x), len(classes)))
    for training, held_out in splits(len(x), folds, seed):
        probabilities[held_out] = logistic_probabilities(
            x, labels, classes, training, held_out, logistic_c
        )
    return probabilities


def gradient_norm(weights, x, labels, logistic_c):
    """‖∇(mean log-loss + ‖W‖²/(2·C·n))‖∞ at softmax weights (c, p + 1), the intercept last.

    Two classes: in scikit-learn's one vector w = W₁ − W₀.
    """
    n, classes = len(x), np.unique(labels)
    design = np.column_stack([x, np.ones(n)])
    if len(classes) == 2:
        w = weights[1] - weights[0]
        residual = 1 / (1 + np.exp(-design @ w)) - (labels == classes[1])
        gradient = residual @ design / n + np.append(w[:-1], 0) / (logistic_c * n)
        return np.abs(gradient).max()
    logits = design @ weights.T
    powers = np.exp(logits - logits.max(1, keepdims=True))
    residual = powers / powers.sum(1, keepdims=True) - (labels[:, None] == classes)
    penalty = np.column_stack([weights[:, :-1], np.zeros(len(weights))]) / (logistic_c * n)
    return np.abs(residual.T @ design / n + penalty).max()


def index(fused, members, perfect=1.0):
    """The complementarity index from scores of a set and of its members."""
    best = max(members) if perfect == 1 else min(members)
    return (fused - best) / (perfect - best)


def inner_splits(outer, seed, inner_folds):
    """Of each outer fold (training, tested): the (training, tested) rows of its inner fits."""
    found = []
    for f, (training, _) in enumerate(outer):
        remaining = [np.intersect1d(rows, training) for j, (_, rows) in enumerate(outer) if j != f]
        remaining = [rows for rows in remaining if len(rows)]
        if len(remaining) > 1:
            m = min(inner_folds or len(outer) - 1, len(remaining))
            tested = [np.concatenate(remaining[i::m]) for i in range(m)]
        else:
            dealt = KFold(inner_folds, shuffle=True, random_state=seed).split(training)
            tested = [training[places] for _, places in dealt]
        found.append([(np.setdiff1d(training, rows), rows) for rows in tested])
    return found


def scaled_by(x, training):
    """Columns in z-scores of the training rows."""
    return StandardScaler().fit(x[training]).transform(x)


@dataclasses.dataclass(frozen=True)
class NestedReference:
    """One subset, one seed, one task.

    Attributes:
      predictions: (n, t) in standard deviations of the table; (n, c) probabilities of classes; NaN
        where no fold tests a row.
      chosen, inner_loss: (k,) the penalty of each outer fold and its loss in the inner folds.
      further: (n, t) predictions with a penalty that is a step larger in its logarithm, or None.
    """

    predictions: np.ndarray
    chosen: np.ndarray
    inner_loss: np.ndarray
    further: np.ndarray | None = None


def nested(x, y, outer, seed, inner_folds, grid, predict, loss, step=0.0, inner_fits=None):
    """All outer folds of one subset.

    Args:
      outer: (training, tested) rows of each fold, or how many shuffled folds there are.
      grid: penalties, the strongest first; () of the number of an outer fold's training rows.
      predict: (x, y, training, held_out, penalty) → predictions of the held-out rows.
      loss: (predictions, y) of some rows → their summed loss.
      step: of the further predictions; 0: none.
      inner_fits: in the place of `inner_splits`.
    """
    outer = splits(len(x), outer, seed) if isinstance(outer, int) else outer
    predictions, chosen, least, further = {}, [], [], {}
    inner_fits = inner_fits or inner_splits(outer, seed, inner_folds)
    for (training, held_out), inner in zip(outer, inner_fits, strict=True):
        penalties = grid(len(training))
        losses = np.zeros(len(penalties))
        for rows, tested in inner:
            z = scaled_by(x, rows)
            for i, penalty in enumerate(penalties):
                losses[i] += loss(predict(z, y, rows, tested, penalty), y[tested])
        best = losses.argmin()
        z = scaled_by(x, training)
        found = predict(z, y, training, held_out, penalties[best])
        predictions |= dict(zip(held_out, found, strict=True))
        if step:
            found = predict(z, y, training, held_out, penalties[best] * np.exp(step))
            further |= dict(zip(held_out, found, strict=True))
        chosen.append(penalties[best])
        least.append(losses[best])
    nowhere = np.full_like(next(iter(predictions.values())), np.nan)
    whole, more = (
        np.array([one.get(i, nowhere) for i in range(len(x))]) for one in (predictions, further)
    )
    return NestedReference(whole, np.array(chosen), np.array(least), more if step else None)


def nested_ridge(embeddings, subset, y, folds, seed, inner_folds, grid, step=0.0, inner_fits=None):
    """As `nested`; y (n, t) standardised over the table."""
    x = np.concatenate([np.asarray(embeddings[m], float) for m in subset.split("+")], axis=1)

    def squared(found, truth):
        return ((truth - found) ** 2).sum()

    how = ridge_predictions, squared, step, inner_fits
    return nested(x, y, folds, seed, inner_folds, grid, *how)


def ratio_error(fused, member, columns):
    """Standard error of the log ratio of two lists of losses, by the formula of `intervals`."""
    n = len(fused)
    share = fused / fused.mean() - member / member.mean()
    return share.std(ddof=1) / np.sqrt(n) * np.sqrt(n / max(n - columns, n / 4))


def ends_over_the_best(losses, fused, members, columns, z, z_tie):
    """Upper ends of a set's gains over its best member and those tied with it.

    Args:
      losses: of each set (n,).
      columns: of each set.
    """
    best = min(members, key=lambda m: losses[m].mean())
    highs = []
    for m in members:
        apart = np.log(losses[m].mean() / losses[best].mean())
        p = max(columns[m], columns[best])
        if m == best or apart <= z_tie * ratio_error(losses[m], losses[best], p):
            error = ratio_error(losses[fused], losses[m], max(columns[fused], columns[m]))
            highs.append(1 - losses[fused].mean() / losses[m].mean() * np.exp(-z * error))
    return highs


def nested_banded(embeddings, subset, y, outer, seed, inner_folds, grid, inner_fits=None):
    """As `nested`, with a ridge penalty for each embedding; chosen is (k, b).

    A penalty λ on a block is a penalty of 1 on the block divided by √λ. From the best shared one,
    steps of 4, 2, then 1 places of one embedding, the best at a time. The shared one stays unless
    that lowers the loss by 4·(b − 1)/n of itself.
    """
    outer = splits(len(y), outer, seed) if isinstance(outer, int) else outer
    x = [np.asarray(embeddings[m], float) for m in subset.split("+")]
    whole, chosen, least = np.full_like(y, np.nan), [], []
    inner_fits = inner_fits or inner_splits(outer, seed, inner_folds)
    for (training, held_out), inner in zip(outer, inner_fits, strict=True):
        penalties = grid(len(training))

        def predict(places, rows, tested, penalties=penalties):
            scaled = [
                scaled_by(block, rows) / np.sqrt(penalties[place])
                for block, place in zip(x, places, strict=True)
            ]
            return ridge_predictions(np.hstack(scaled), y, rows, tested, 1.0)

        @functools.cache
        def loss(places, inner=inner, predict=predict):
            return sum(((y[t] - predict(places, rows, t)) ** 2).sum() for rows, t in inner)

        shared = best = min(((i,) * len(x) for i in range(len(penalties))), key=loss)
        for stride in (4, 2, 1):
            moved = True
            while moved:
                steps = [s * stride * np.eye(len(x), dtype=int)[j] for s in (-1, 1)
                         for j in range(len(x))]  # fmt: skip
                trials = [tuple(int(i) for i in np.add(best, step)) for step in steps]
                trials = [t for t in trials if min(t) >= 0 and max(t) < len(penalties)]
                nearest = min(trials, key=loss, default=best)
                moved = loss(nearest) < loss(best)
                best = nearest if moved else best
        if 1 - loss(best) / loss(shared) <= 4 * (len(x) - 1) / len(training):
            best = shared
        whole[held_out] = predict(best, training, held_out)
        chosen.append(penalties[list(best)])
        least.append(loss(best))
    return NestedReference(whole, np.array(chosen), np.array(least))


def strict_index(losses, folds_of_row, fused, members):
    """eci, the best single of each fold, and its pooled loss.

    Args:
      losses: {subset: (n,) of each row}, whose sum over rows is the pooled loss.
    """
    folds = np.unique(folds_of_row)
    chosen = [min(members, key=lambda m: losses[m][folds_of_row != fold].sum()) for fold in folds]
    best = sum(losses[m][folds_of_row == fold].sum() for m, fold in zip(chosen, folds, strict=True))
    return 1 - losses[fused].sum() / best, chosen, best


def nested_logistic(embeddings, subset, labels, folds, seed, inner_folds, grid, step=0.0):
    """As `nested`, with C for λ; labels are codes 0, 1, …

    Rows of classes that the training rows lack count for nothing in the inner loss.
    """
    x = np.concatenate([np.asarray(embeddings[m], float) for m in subset.split("+")], axis=1)
    classes = np.unique(labels)

    def predict(z, y, training, held_out, logistic_c):
        return logistic_probabilities(z, y, classes, training, held_out, logistic_c)

    def log_loss(found, truth):
        own = found[np.arange(len(truth)), truth]
        return -np.log(own[own > 0]).sum()

    return nested(x, labels, folds, seed, inner_folds, grid, predict, log_loss, step)


def kept_losses(blocks, y, counts, outer, penalties, strict=True):
    """(k, t) squared errors of rows drawn with repetition, by fits with given penalties.

    A row's copies stay in its fold.

    Args:
      blocks: (n, p_m) columns of each embedding of one subset.
      y: (n, t) standardised over the table.
      counts: (n,) how often each row was drawn.
      outer: (training, tested) rows of each fold.
      penalties: of each fold, one for each embedding.
    """
    found = np.zeros((len(outer), y.shape[1]))

    def copies(rows):
        return np.repeat(rows, counts[rows])

    for i, ((training, tested), of_blocks) in enumerate(zip(outer, penalties, strict=True)):
        training, tested = copies(training), copies(tested)
        if not len(tested):
            continue
        scaled_to = training if strict else copies(np.arange(len(y)))
        x = np.hstack([
            scaled_by(block, scaled_to) / np.sqrt(penalty)
            for block, penalty in zip(blocks, of_blocks, strict=True)
        ])  # fmt: skip
        errors = y[tested] - ridge_predictions(x, y, training, tested, 1.0)
        found[i] = (errors**2).sum(0)
    return found


def redone_losses(embeddings, subset, y, counts, outer, inner_fits, grids, banded=False):
    """Squared errors (k, t) of rows drawn with repetition, by penalties that they choose anew, and
    those penalties (k, b); NaN where no row of a fold was drawn.

    A row's copies stay in its fold and in its inner group.

    Args:
      y: (n, t) standardised over the table.
      counts: (n,) how often each row was drawn.
      outer: (training, tested) rows of each fold.
      inner_fits: of each fold, the (training, tested) rows of its inner fits.
      grids: (k, l) penalties of each fold, the strongest first.
    """
    table = np.repeat(np.arange(len(y)), counts)
    embeddings = {name: np.asarray(x)[table] for name, x in embeddings.items()}
    losses = np.zeros((len(outer), y.shape[1]))
    chosen = np.full((len(outer), len(subset.split("+")) if banded else 1), np.nan)

    def copies(pair):
        return [np.flatnonzero(np.isin(table, rows)) for rows in pair]

    for i, (fold, fits, grid) in enumerate(zip(outer, inner_fits, grids, strict=True)):
        fold, fits = copies(fold), [pair for pair in map(copies, fits) if len(pair[1])]
        if not len(fold[1]):
            continue
        given = [fold], None, None, lambda _, grid=grid: grid
        of = nested_banded if banded else nested_ridge
        found = of(embeddings, subset, y[table], *given, inner_fits=[fits])
        losses[i] = ((y[table] - found.predictions)[fold[1]] ** 2).sum(0)
        chosen[i] = found.chosen[0]
    return losses, chosen


def fits_without(blocks, y, outer, penalties, strict=True):
    """Squared errors (n,), summed over targets, of nested cross-validation of one subset.

    Args:
      blocks, y: as for `kept_losses`.
      outer: (training, tested) rows of each fold.
      penalties: of each fold, one for each embedding.

    Returns:
      (n,) of each row by the usual fits, and (k, n) of fits that know neither a fold nor the row's
      own, with the penalties of the first; NaN where both are one.
    """
    n, tested = len(y), [rows for _, rows in outer]
    usual, inner = np.full(n, np.nan), np.full((len(outer), n), np.nan)

    def errors(known, training, rows, of_blocks):
        x = np.hstack([
            scaled_by(block, training if strict else known) / np.sqrt(penalty)
            for block, penalty in zip(blocks, of_blocks, strict=True)
        ])  # fmt: skip
        return ((y[rows] - ridge_predictions(x, y, training, rows, 1.0)) ** 2).sum(1)

    for j, (training, rows) in enumerate(outer):
        usual[rows] = errors(np.arange(n), training, rows, penalties[j])
        for i, others in enumerate(tested):
            if i != j:
                left = np.setdiff1d(training, others)
                inner[j, others] = errors(training, left, others, penalties[j])
    return usual, inner


def nested_error(usual, inner, mean, fold_of_row, unit_of_row):
    """Nested cross-validation's standard error (Bates et al. 2021), and the naive one.

    Args:
      usual, inner: (r, n) and (r, k, n) what each row adds to a mean, as `fits_without`, by seed.
      mean: (n,) what it adds on average over seeds.
      fold_of_row: (r, n).
    """
    a, b = [], []
    for e, e_in, fold in zip(usual, inner, fold_of_row, strict=True):
        for j in range(len(e_in)):
            out = e[fold == j]
            sums = [(out - out.mean())[unit_of_row[fold == j] == u].sum()
                    for u in np.unique(unit_of_row[fold == j])]  # fmt: skip
            a.append((np.mean(e_in[j, fold != j]) - out.mean()) ** 2)
            b.append(len(sums) / (len(sums) - 1) * np.sum(np.square(sums)) / len(out) ** 2)
    k = inner.shape[1]
    sums = [(mean - mean.mean())[unit_of_row == u].sum() for u in np.unique(unit_of_row)]
    naive = np.sqrt(len(sums) / (len(sums) - 1) * np.sum(np.square(sums))) / len(mean)
    mse = (k - 1) / k * (np.mean(a) - np.mean(b))
    return min(max(np.sqrt(max(mse, 0)), naive), np.sqrt(k) * naive), naive

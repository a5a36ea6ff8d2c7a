"""How far two columns of labels agree, row by row.  Pure.

The interval is that of Wilson (1927), "Probable inference, the law of succession, and statistical
inference", J. Am. Stat. Assoc. 22, 209-212; kappa that of Cohen (1960), "A coefficient of agreement
for nominal scales", Educ. Psychol. Meas. 20, 37-46.
"""

from __future__ import annotations

import math

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

MOST_LABELS = 20
"""Labels beyond which there is no table of them."""

Z = 1.959963984540054
"""95% of a normal distribution lie within so many standard deviations."""

Confusion = dict[str, dict[str, int]]
"""How many rows have one label here (the outer key) and one there (the inner)."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` have a label on both sides, the same in `agreed` of them; `null` lack one and count for
    nothing else.

    `agreement_low` and `agreement_high` are the Wilson interval (95%) of the share that agrees, None
    as that is where there are no rows.  `kappa` is also None where chance alone would agree
    everywhere, `confusion` where there are more than MOST_LABELS.
    """

    rows: int
    agreed: int
    null: int
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    kappa: float | None
    confusion: Confusion | None


def of(a: pa.ChunkedArray, b: pa.ChunkedArray, null: int = 0) -> Agreement:
    """That of two columns of text without nulls, of the same length."""
    rows, agreed = len(a), pc.sum(pc.equal(a, b)).as_py() or 0
    counts_a, counts_b = pc.value_counts(a), pc.value_counts(b)
    low, high = wilson(agreed, rows) if rows else (None, None)
    return Agreement(
        rows=rows,
        agreed=agreed,
        null=null,
        agreement=_rounded(agreed / rows) if rows else None,
        agreement_low=low,
        agreement_high=high,
        kappa=kappa(rows, agreed, _by_chance(counts_a, counts_b)),
        confusion=_confusion(a, b, _labels(counts_a, counts_b)),
    )


def wilson(agreed: int, rows: int) -> tuple[float, float]:
    """The interval that holds the true share with 95%, of which `agreed` of `rows` were seen:
    (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n), with p = agreed/n (Wilson 1927).
    """
    share, spread = agreed / rows, Z * Z / rows
    half = Z * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    middle, whole = share + spread / 2, 1 + spread
    return _rounded(max(0.0, (middle - half) / whole)), _rounded(min(1.0, (middle + half) / whole))


def kappa(rows: int, agreed: int, by_chance: int) -> float | None:
    """(p_o - p_e) / (1 - p_e) (Cohen 1960): p_o is the share that agrees, p_e the one that chance
    would give, here times the square of `rows`.  None where p_e is 1, or of nothing.
    """
    beyond = rows * rows - by_chance
    return _rounded((rows * agreed - by_chance) / beyond) if beyond else None


def _by_chance(a: pa.StructArray, b: pa.StructArray) -> int:
    """The products of how often each label is on either side, added up."""
    place = pc.index_in(a.field("values"), value_set=b.field("values"))
    products = pc.multiply(a.field("counts"), b.field("counts").take(place))
    return int(pc.sum(products).as_py() or 0)


def _labels(a: pa.StructArray, b: pa.StructArray) -> list[str] | None:
    """The labels of both sides in order, None where they are too many."""
    if max(len(a), len(b)) > MOST_LABELS:
        return None
    labels = {*a.field("values").to_pylist(), *b.field("values").to_pylist()}
    return sorted(labels, key=_order) if len(labels) <= MOST_LABELS else None


def _order(label: str) -> tuple[float, str]:
    """Numbers by their size, before words."""
    try:
        number = float(label)
    except ValueError:
        return math.inf, label
    return (math.inf if math.isnan(number) else number), label


def _confusion(
    a: pa.ChunkedArray, b: pa.ChunkedArray, labels: list[str] | None
) -> Confusion | None:
    if labels is None:
        return None
    made = {label: dict.fromkeys(labels, 0) for label in labels}
    pairs = pa.table({"a": a, "b": b}).group_by(["a", "b"]).aggregate([([], "count_all")])
    for pair in pairs.to_pylist():
        made[pair["a"]][pair["b"]] = pair["count_all"]
    return made


def _rounded(number: float) -> float:
    """Without the noise of binary fractions."""
    return round(number, 12)

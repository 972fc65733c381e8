"""x"""


def line(row):
    f = lambda x: "  -  " if x is None else f"{x:.3f}"
    return f"{row['world']:45} th {row['truth_low']:+.3f}..{row['truth_high']:+.3f} g {f(row['gains'])} gw {f(row['gains_worst'])} g1w {f(row['gains_less_one_worst'])} wd {f(row['gains_width'])} b {f(row['gains_bias'])} | i {f(row['index'])} iw {f(row['index_worst'])} ib {f(row['index_bias'])} fc {f(row['false_claims'])} pw {f(row['power'])} fw {f(row['family_wise'])}"

"""The style and the only script of the HTML page: light, dark and on paper; tables that sort."""

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1c2430; --soft: #5a6472;
  --line: #d8dde4; --band: #f5f7fa; --gain: #0072b2; --loss: #d55e00; --true: #1c2430; }
@media (prefers-color-scheme: dark) { :root { --back: #14181f; --text: #e4e8ee; --soft: #9aa5b4;
  --line: #343c49; --band: #1b212b; --gain: #56b4e9; --loss: #f0954a; --true: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
header p, .note, figcaption { color: var(--soft); font-size: .88rem; }
ul { padding-left: 1.2rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; overflow-wrap: normal; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; white-space: normal; min-width: 11rem; }
thead th { vertical-align: bottom; font-weight: 600; white-space: normal; }
td bdi, th bdi { display: inline-block; max-width: 24rem; white-space: normal;
  overflow-wrap: break-word; }
tbody tr:nth-child(even) { background: var(--band); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--gain); }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
figure { margin: .8rem 0; }
svg { width: 100%; max-width: 760px; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .axis { fill: var(--soft); font-size: 11px; }
svg .value { font-variant-numeric: tabular-nums; }
svg .name { unicode-bidi: isolate; }
svg .tick { stroke: var(--line); }
svg .zero { stroke: var(--text); }
svg .gain { fill: var(--gain); stroke: var(--gain); }
svg .loss { fill: var(--loss); stroke: var(--loss); }
svg .pale { fill-opacity: .3; }
svg .true { fill: var(--true); stroke: var(--back); }
@media print { :root { --back: #ffffff; --text: #000000; --soft: #444444; --line: #bbbbbb;
  --band: #ffffff; --gain: #0072b2; --loss: #d55e00; --true: #000000; }
  body { max-width: none; padding: 0; font-size: 11px; } .wide { overflow: visible; }
  table { font-size: 9px; } th, td { padding: .15rem .3rem; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  svg rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.v;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      const size = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -size : size;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  }));
}
"""

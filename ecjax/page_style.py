"""The style of the HTML page: light, dark and on paper, from narrow to wide.

Colours are variables, of which pictures use some too: `--text`, `--soft`, `--line`, `--back`,
`--gain` and `--loss`. `--g1` to `--g5` and `--l1` to `--l5` are backgrounds of cells that gain and
lose, each with its ink `--G…`, `--L…`; the contrast of either is 4.5 or more. On paper it is light.
"""

LIGHT = {
    "back": "#ffffff", "text": "#1c2430", "soft": "#55606e", "line": "#d8dde4", "band": "#f5f7fa",
    "gain": "#0072b2", "loss": "#c25400", "true": "#1c2430", "link": "#005a8c",
    "g1": "#e6f1f8", "g2": "#cbe3f2", "g3": "#a3cee8", "g4": "#6db3dc", "g5": "#00629b",
    "l1": "#fdefe3", "l2": "#fadcc0", "l3": "#f5c193", "l4": "#ee9c55", "l5": "#a84600",
}  # fmt: skip
DARK = {
    "back": "#14181f", "text": "#e4e8ee", "soft": "#a3aebc", "line": "#343c49", "band": "#1b212b",
    "gain": "#56b4e9", "loss": "#f0954a", "true": "#ffffff", "link": "#7cc4f0",
    "g1": "#18293a", "g2": "#19384f", "g3": "#1a4868", "g4": "#1b5a84", "g5": "#7cc7f2",
    "l1": "#33251a", "l2": "#4a3119", "l3": "#643e18", "l4": "#834b12", "l5": "#f5ab6c",
}  # fmt: skip
INK = {"light": ("#1c2430", "#ffffff"), "dark": ("#e4e8ee", "#0e1218")}  # of levels 1 to 4, and 5


def _variables(colours: dict[str, str], scheme: str) -> str:
    parts = [f"--{name}: {value};" for name, value in colours.items()]
    parts.append(f"--ink: {INK[scheme][0]}; --ink5: {INK[scheme][1]};")
    return f":root {{ color-scheme: {scheme}; {' '.join(parts)} }}"


LEVELS = "\n".join(
    f".{kind}{i} {{ background: var(--{kind}{i}); color: var(--ink{5 if i == 5 else ''}); }}"
    for kind in "gl"
    for i in range(1, 6)
)
STYLE = (
    f"""
{_variables(LIGHT, "light")}
@media screen and (prefers-color-scheme: dark) {{ {_variables(DARK, "dark")} }}
"""
    + """
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; padding: 1.5rem; max-width: 76rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--back); padding: .5rem; z-index: 2; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.4rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
header p { margin: .2rem 0; color: var(--soft); max-width: 60rem; }
p, li, figcaption, .findings dd { max-width: 60rem; }
.note, figcaption, .state { color: var(--soft); font-size: .85rem; }
ul { padding-left: 1.2rem; }
nav { margin: 1rem 0; padding: .7rem 1rem; background: var(--band); border-radius: .4rem;
  font-size: .9rem; }
nav ul { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap;
  gap: .15rem 1.1rem; }
nav li { max-width: 18rem; overflow: hidden; text-overflow: ellipsis; }
.findings dt { font-weight: 600; }
.findings dd { margin: 0 0 .5rem; }
.bar { display: flex; flex-wrap: wrap; gap: .3rem .9rem; align-items: center;
  margin: .4rem 0 .3rem; font-size: .85rem; }
.bar input { font: inherit; color: inherit; background: var(--back); padding: .2rem .45rem;
  border: 1px solid var(--soft); border-radius: .25rem; width: 13rem; max-width: 60vw; }
button { font: inherit; color: var(--link); background: none; border: 1px solid var(--soft);
  border-radius: .25rem; padding: .15rem .6rem; cursor: pointer; font-size: .85rem; }
:focus-visible { outline: 2px solid var(--gain); outline-offset: 1px; }
.wide { overflow-x: auto; margin: .3rem 0 1rem; position: relative; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { position: absolute; left: -99rem; width: 20rem; }
.table > .note { margin: .8rem 0 .3rem; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; overflow-wrap: normal; white-space: nowrap; }
tbody th { text-align: left; font-weight: 500; white-space: normal; min-width: 8rem;
  position: sticky; left: 0; background: var(--back); z-index: 1; }
tbody tr:nth-child(even), tbody tr:nth-child(even) th { background: var(--band); }
thead th { vertical-align: bottom; font-weight: 600; white-space: normal; }
thead th:first-child, td.words, th:is([data-kind=text], [data-kind=name], [data-kind=set]) {
  text-align: left; }
td.words { white-space: normal; }
td.sets { min-width: 11rem; }
td.long { min-width: 15rem; }
th bdi, td bdi { display: inline-block; max-width: 22rem; overflow-wrap: break-word;
  vertical-align: top; }
thead th bdi { max-width: 12rem; }
th small, td small { display: block; font-size: .92em; font-weight: 400; color: var(--soft);
  white-space: nowrap; }
thead th small { white-space: normal; max-width: 12rem; margin-left: auto; }
td[class] small { color: inherit; }
thead th button { all: unset; cursor: pointer; position: relative; padding-right: 1em; }
thead th button:focus-visible { outline: 2px solid var(--gain); outline-offset: 2px; }
thead th button::after { content: "↕"; color: var(--soft); font-weight: 400; position: absolute;
  right: 0; bottom: 0; }
th[aria-sort=ascending] button::after { content: "▲"; color: inherit; }
th[aria-sort=descending] button::after { content: "▼"; color: inherit; }
"""
    + LEVELS
    + """
.sure { font-weight: 700; }
.sure small { font-weight: 400; }
.heat td { border: 2px solid var(--back); min-width: 6.5rem; }
.scale { display: flex; flex-wrap: wrap; font-size: .78rem; margin: .6rem 0; padding: 0;
  list-style: none; }
.scale li { padding: .1rem .45rem; min-width: 3rem; text-align: center; }
figure { margin: .8rem 0; }
figure svg { width: 100%; height: auto; max-width: 760px; display: block; }
svg { font: 12px system-ui, sans-serif; }
svg.index text { fill: var(--text); }
svg .axis { fill: var(--soft); font-size: 11px; }
svg.index .axis { fill: var(--soft); }
svg .value { font-variant-numeric: tabular-nums; }
svg .name { unicode-bidi: isolate; }
svg .tick { stroke: var(--line); }
svg .zero, svg .whisker { stroke: var(--text); }
svg .gain { fill: var(--gain); stroke: var(--gain); }
svg .loss { fill: var(--loss); stroke: var(--loss); }
svg .pale { fill-opacity: .3; }
svg .true { fill: var(--true); stroke: var(--back); }
pre { white-space: pre-wrap; background: var(--band); padding: .8rem 1rem; border-radius: .4rem;
  font-size: .85rem; max-width: 60rem; }
pre.prose { font-family: inherit; font-size: .92rem; }
figure .wide { margin: 0; }
@media screen and (max-width: 700px) { figure svg { min-width: 600px; } }
@media (max-width: 600px) { body { padding: 1rem .8rem; } h1 { font-size: 1.4rem; }
  tbody th { min-width: 6.5rem; } tbody th bdi { max-width: 9rem; }
  th, td { padding: .25rem .45rem; } }
@media (min-width: 1300px) {
  body { max-width: 96rem; display: grid; grid-template-columns: 13rem minmax(0, 1fr);
    column-gap: 2.5rem; align-content: start; }
  header, footer { grid-column: 2; } nav { grid-column: 1; grid-row: 1 / span 3; position: sticky;
    top: 1rem; align-self: start; max-height: calc(100vh - 2rem); overflow-y: auto; }
  nav ul { display: block; } nav li { padding: .15rem 0; } main { grid-column: 2; } }
@media print {
  body { max-width: none; padding: 0; font-size: 12px; }
  .note, figcaption, .scale, pre { font-size: 10px; } h1 { font-size: 20px; }
  h2 { font-size: 16px; margin-top: 1.4rem; } h3 { font-size: 13px; }
  nav, .bar, .skip, [data-csv] button { display: none; }
  .wide { overflow: visible; } table { font-size: 9.5px; } th, td { padding: .12rem .3rem; }
  tbody th { position: static; min-width: 0; }
  .heat td { min-width: 0; } thead th button::after { content: "" !important; }
  thead { display: table-header-group; break-inside: avoid; }
  figure, tr, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; } figure svg { max-width: 150mm; max-height: 110mm; }
  td, th, svg *, .scale li { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
)

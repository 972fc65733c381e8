"""The only script of the HTML page: tables that sort and filter, downloads, buttons that copy.

Without it everything but the rows that are data can be read. It makes no element from text.
"""

SCRIPT = r"""
"use strict";
const make = (tag, text, values = {}) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  return Object.assign(element, values);
};
const words = text => {
  const nodes = text.split("+").map(name => make("bdi", name));
  return nodes.flatMap((node, i) => i ? ["+", make("wbr"), node] : [node]);
};
const size = text => {
  const value = parseFloat(text.replace(/[,<\s]/g, ""));
  return isNaN(value) ? undefined : value;
};
const many = count => count.toLocaleString("en");

function tableOf(box) {
  const table = box.querySelector("table"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells], kinds = heads.map(head => head.dataset.kind);
  const data = box.querySelector("script"), first = Number(box.dataset.first);
  let rows, sorted, all = false;
  const texts = row => [...row.cells].map(cell =>
    cell.querySelector("small") ? cell.firstChild.textContent : cell.textContent);
  const drawn = entry => entry.row ||= (() => {
    const row = document.createElement("tr");
    entry.cells.forEach((cell, i) => {
      const [text, small, style] = cell;
      const element = make(i ? "td" : "th");
      if (!i) element.scope = "row";
      if (i && kinds[i] === "set") element.className = "words sets";
      else if (i && kinds[i] !== "number")
        element.className = kinds[i] === "text" ? "words long" : "words";
      if (style) element.className = style;
      if (kinds[i] === "number") element.textContent = text;
      else if (kinds[i] === "set") element.append(...(text ? words(text) : []));
      else element.append(make("bdi", text));
      if (small) element.append(make("small", small));
      row.append(element);
    });
    return row;
  })();
  const load = () => {
    if (rows) return;
    const small = row => [...row.querySelectorAll("small")].map(element => element.textContent);
    rows = [...body.rows].map(row =>
      ({ row, texts: texts(row), found: [...texts(row), ...small(row)].join(" ") }));
    if (data) {
      const kept = JSON.parse(data.textContent);
      for (const packed of kept.rows) {
        const cells = packed.map((cell, i) => kinds[i] !== "number" ? [kept.words[cell]]
          : typeof cell === "string" ? [cell] : cell);
        rows.push({ cells, texts: cells.map(cell => cell[0]), found: cells.flat().join(" ") });
      }
    }
    for (const entry of rows) entry.found = entry.found.toLowerCase();
    sorted = rows;
  };
  const total = Number(box.dataset.total);
  const tools = make("div", "", { className: "bar" });
  const label = make("label", "Filter ");
  const search = make("input", "", { type: "search", autocomplete: "off" });
  search.setAttribute("aria-label", "Filter rows of: " + table.caption.textContent);
  const state = make("span", "", { className: "state" });
  state.setAttribute("role", "status");
  const more = make("button", "", { type: "button", hidden: true });
  label.append(search);
  const show = () => {
    load();
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = sorted.filter(entry => wanted.every(word => entry.found.includes(word)));
    const seen = all ? found : found.slice(0, first);
    body.replaceChildren(...seen.map(drawn));
    box.querySelector(".first")?.remove();
    tell(seen.length, found.length);
  };
  const tell = (seen, found) => {
    const parts = [seen < found ? many(seen) + " of " + many(found) : many(found)];
    state.textContent = parts[0] + (found === 1 ? " row" : " rows") +
      (found < total ? " that match" : "");
    more.hidden = found <= first;
    more.textContent = all ? "show the first " + many(first) : "show all " + many(found);
  };
  search.addEventListener("input", show);
  more.addEventListener("click", () => { all = !all; show(); });
  heads.forEach((head, column) => {
    const button = make("button", "", { type: "button" });
    button.append(head.firstChild);
    head.prepend(button);
    button.addEventListener("click", () => {
      load();
      const numbers = kinds[column] === "number";
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = entry => numbers ? size(entry.texts[column]) : entry.texts[column] || undefined;
      sorted = rows.map(entry => [value(entry), entry]).sort(([x], [y]) => {
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        const order = numbers ? x - y : x.localeCompare(y, "en");
        return down ? -order : order;
      }).map(pair => pair[1]);
      show();
    });
  });
  if (total < 6) return;
  tools.append(label, state, more);
  box.querySelector(".wide").before(tools);
  tell(Math.min(first, total), total);
}
document.querySelectorAll(".table.tools").forEach(tableOf);

for (const block of document.querySelectorAll("pre.copy")) {
  const button = make("button", "copy", { type: "button" });
  button.setAttribute("aria-label", "copy " + block.dataset.what);
  const told = make("span", "", { className: "state" });
  told.setAttribute("role", "status");
  const bar = make("div", "", { className: "bar" });
  bar.append(button, told);
  block.before(bar);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.textContent);
      told.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(block);
      told.textContent = document.execCommand("copy") ? "copied" : "selected: copy it by hand";
    }
  });
}

if ("DecompressionStream" in window) for (const place of document.querySelectorAll("[data-csv]")) {
  const file = place.dataset.csv;
  const button = make("button", "save " + file, { type: "button" });
  place.replaceChildren(button);
  button.addEventListener("click", async () => {
    const packed = atob(document.getElementById("csv-" + file).textContent.trim());
    const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const blob = new Blob([await new Response(stream).arrayBuffer()], { type: "text/csv" });
    const link = make("a", "", { href: URL.createObjectURL(blob), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
}
"""

"""The page of a run in Debian's Chromium: no error, no request, accessible, sorts, filters, saves.

Needs `pip install '.[browser]'` and /usr/bin/chromium (`apt-get install chromium`). Pages of other
runs are looked at too where ECJAX_PAGES names folders, each with `results`, the directory of an
evaluation, and if wanted `overlap` and `scales` of the same study.
"""

import importlib.util
import os
from pathlib import Path

import make_pages
import pytest

from ecjax import page, store

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
STUDIES = {
    "plain": (
        ["alphaearth", "tessera", "geoclip", "satclip"],
        {"biomass": "regression", "crops": "classification"},
    ),
    "hostile": (
        list(make_pages.HOSTILE),
        {"<img src=x onerror=alert(2)>": "regression", "任务": "classification"},
    ),
}
GIVEN = [name for name in os.environ.get("ECJAX_PAGES", "").split(os.pathsep) if name]
WIDTHS = (360, 800, 1600)
# Clicks every head of every table twice; what is not in order then, and how often it looked.
SORT = """() => {
  const text = cell => cell.querySelector("small") ? cell.firstChild.textContent : cell.textContent;
  const faults = [];
  let looked = 0;
  for (const box of document.querySelectorAll(".table.tools")) {
    const count = box.querySelectorAll("tbody tr").length;
    [...box.querySelectorAll("thead th")].forEach((head, column) => {
      const numbers = head.dataset.kind === "number";
      for (const wanted of numbers ? ["descending", "ascending"] : ["ascending", "descending"]) {
        head.querySelector("button").click();
        const cells = [...box.querySelectorAll("tbody tr")].map(row => text(row.cells[column]));
        const values = cells.map(t => numbers ? parseFloat(t.replace(/[,<\\s]/g, "")) : t);
        const known = values.filter(v => numbers ? !isNaN(v) : v);
        const right = (a, b) => numbers ? a <= b : a.localeCompare(b, "en") <= 0;
        const sorted = known.every((v, i) => !i || (
          wanted === "ascending" ? right(known[i - 1], v) : right(v, known[i - 1])));
        const last = values.slice(known.length).every(v => numbers ? isNaN(v) : !v);
        const told = head.getAttribute("aria-sort") === wanted
          && box.querySelectorAll("thead th[aria-sort]").length === 1;
        looked += 1;
        if (!sorted || !last || !told || cells.length !== count)
          faults.push([box.id, column, wanted, cells.slice(0, 9)]);
      }
    });
  }
  return [looked, faults];
}"""


@pytest.fixture(scope="module")
def browser():
    for module in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: pip install 'ecjax[browser]'")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=[*STUDIES, *GIVEN])
def folder(request, tmp_path_factory):
    """A directory with a page of everything, on disk."""
    if request.param not in STUDIES:
        root = Path(request.param)
        beside = [root / name for name in ("overlap", "scales") if (root / name).exists()]
        page.write_page(root / "results", beside)
        return root
    root = tmp_path_factory.mktemp(request.param)
    models, tasks = STUDIES[request.param]
    tables, manifest = make_pages.evaluation(models, tasks)
    manifest["name"] = (
        "made-up" if request.param == "plain" else "</title><script>alert(3)</script>"
    )
    store.write_results(root / "results", tables, manifest)
    store.write_results(root / "overlap", *make_pages.overlap(models, tasks))
    store.write_results(root / "scales", *make_pages.scale(models, tasks))
    page.write_page(root / "results", [root / "overlap", root / "scales"])
    return root


@pytest.fixture
def opened(browser, folder):
    """Opens the page: (width, scheme) → it; afterwards there was no error, dialog or request."""
    contexts, faults = [], []

    def open_page(width=1600, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        context.set_default_timeout(120_000)  # other tests may run beside it
        contexts.append(context)
        seen = context.new_page()
        address = (folder / "results" / "report.html").as_uri()
        seen.on("console", lambda message: faults.append(message.text))
        seen.on("pageerror", lambda error: faults.append(str(error)))
        seen.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        seen.on("request", lambda asked: asked.url in (address, *own(asked.url)) or
                faults.append(asked.url))  # fmt: skip
        seen.goto(address)
        return seen

    def own(url):
        return (url,) if url.startswith("blob:") else ()

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1600), ("dark", 1600), ("light", 360)])
def test_axe_finds_nothing_serious(opened, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    # axe comes by way of the debugger, which the page's policy does not bind.
    seen = opened(width, scheme)
    found = Axe().run(seen).response["violations"]
    bad = {
        rule["id"]: [node["html"][:200] for node in rule["nodes"][:3]]
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }
    assert bad == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_body_does_not_scroll_sideways(opened, width):
    seen = opened(width)
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    small = """() => Math.min(...[...document.querySelectorAll("svg text")]
        .filter(e => e.textContent.trim()).map(e => e.getBoundingClientRect().height))"""
    assert seen.evaluate(small) >= 8
    clipped = """() => [...document.querySelectorAll("main p, main li, main h2, main h3, figure")]
        .filter(e => !e.closest(".wide") && e.getBoundingClientRect().right > innerWidth + 1)
        .map(e => e.outerHTML.slice(0, 200))"""
    assert seen.evaluate(clipped) == []


def test_every_table_sorts_by_every_column(opened, folder):
    seen = opened()
    looked, faults = seen.evaluate(SORT)
    assert looked > (20 if str(folder) in GIVEN else 100) and faults == []


def test_every_long_table_filters_and_shows_all(opened, folder):
    seen = opened()
    searched = more = 0
    for box in seen.query_selector_all(".table.tools"):
        total, field = int(box.get_attribute("data-total")), box.query_selector("input")
        if field is None:
            assert total < 6
            continue
        searched += 1
        button = box.query_selector(".bar button")
        if button.is_visible():
            more += 1
            button.click()
        rows = [row.inner_text() for row in box.query_selector_all("tbody tr")]
        assert len(rows) == total
        word = box.query_selector_all("tbody tr th")[-1].inner_text().split("+")[-1].strip()
        field.fill(word.upper())
        left = box.query_selector_all("tbody tr")
        kept = [row for row in rows if word.lower() in row.lower().replace("\n", " ")]
        assert 0 < len(left) == len(kept)
        field.fill("no such row anywhere")
        assert box.query_selector_all("tbody tr") == []
        assert box.query_selector("[role=status]").inner_text() == "0 rows that match"
        field.fill("")
        assert len(box.query_selector_all("tbody tr")) == total
    assert str(folder) in GIVEN or (searched > 5 and more > 2)


def test_downloads_are_the_bytes_of_the_files(opened, folder):
    seen = opened()
    buttons = seen.query_selector_all("[data-csv] button")
    assert len(buttons) >= 5 if str(folder) in GIVEN else len(buttons) == 13
    for button in buttons:
        with seen.expect_download() as waiting:
            button.click()
        (file,) = folder.glob(f"*/{waiting.value.suggested_filename}")
        assert Path(waiting.value.path()).read_bytes() == file.read_bytes()
        seen.wait_for_timeout(200)  # Chromium drops the eleventh within a second


def test_methods_and_references_can_be_copied(opened):
    seen = opened()
    seen.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for block in seen.query_selector_all("pre.copy"):
        label = f"copy {block.get_attribute('data-what')}"
        seen.get_by_role("button", name=label).click()
        seen.wait_for_function("n => [...document.querySelectorAll('.state')].filter(e => "
                               "e.textContent === 'copied').length === n", arg=1)  # fmt: skip
        assert seen.evaluate("navigator.clipboard.readText()") == block.text_content()
        seen.evaluate("document.querySelectorAll('.state').forEach(e => e.textContent = '')")


def test_the_keyboard_reaches_the_skip_link_and_sorts(opened):
    seen = opened()
    seen.keyboard.press("Tab")
    assert seen.evaluate("document.activeElement.className") == "skip"
    button = seen.query_selector(".table.tools thead th button")
    button.focus()
    seen.keyboard.press("Enter")
    assert seen.query_selector(".table.tools thead th").get_attribute("aria-sort") == "ascending"


def test_without_its_script_the_page_still_tells(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    seen = context.new_page()
    seen.goto((folder / "results" / "report.html").as_uri())
    assert "Main findings" in seen.inner_text("main") and "scores.csv" in seen.inner_text("main")
    assert seen.query_selector_all("button") == []
    context.close()

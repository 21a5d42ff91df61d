"""Looks at a page of kernels with Chromium: look_at_page.py BROWSER PAGE REPORTS PICTURES

Exits with an error that names the first thing that is not as a reader needs it. PICTURES gets a
picture of each setting the page was looked at in.
"""

import json
import pathlib
import sys

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import sync_playwright

# What the page is looked at in: a name, the width of the window, the reader's colours, scripts.
SETTINGS = [
    ("light", 1280, "light", True),
    ("dark", 1280, "dark", True),
    ("narrow", 400, "light", True),
    ("no-scripts", 1280, "light", False),
]
# The columns of the table of kernels that count cases, and what the reports call these.
COUNTS = {
    "passed": "passed",
    "failed": "failed",
    "timed out": "timed_out",
    "broken": "broken",
    "known bugs": "known_bugs",
    "skipped": "skipped",
}


def check(holds, what):
    if not holds:
        sys.exit(f"the page of kernels: {what}")


def counts_of(report):
    """The counts that a kernel's JSON report ends with."""
    events = [json.loads(line) for line in report.read_text().splitlines()]
    return next(event["counts"] for event in events if event.get("event") == "run_finished")


def look(page, name, colours, reports, pictures):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    check(asked == [page.url], f"it asks for more than itself: {asked}")

    # What must be scrolled sideways scrolls in a box of its own.
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    check(wide <= window, f"in {name} it is {wide} pixels wide in a window of {window}")

    picture = pictures / f"{name}.png"
    page.screenshot(path=picture, full_page=True)
    image = Image.open(picture).convert("RGB")
    corner = sum(image.getpixel((2, 2)))
    check((corner > 600) == (colours == "light"), f"its ground is {image.getpixel((2, 2))} in {name}")

    # Verdicts are told apart by what is really drawn, not only by what the style sheet says.
    for kind in ("pass", "fail"):
        cells = page.locator(f"td.{kind}")
        check(cells.count() > 0, f"there is no cell of the kind {kind}")
        cell = cells.first
        cell.scroll_into_view_if_needed()
        page.screenshot(path=pictures / "cell.png", clip={**cell.bounding_box(), "width": 8, "height": 8})
        drawn = Image.open(pictures / "cell.png").convert("RGB").getpixel((4, 4))
        red, green, _ = drawn
        check((red > green) == (kind == "fail"), f"a {kind} is drawn as {drawn} in {name}")
    (pictures / "cell.png").unlink()

    found = Axe().run(page) if name != "no-scripts" else None
    check(not found or found.violations_count == 0, found.generate_report() if found else "")

    # The table of kernels says what the reports say.
    heads = [head.strip() for head in page.locator("table").first.locator("thead th").all_inner_texts()]
    rows = page.locator("table").first.locator("tbody tr")
    check(rows.count() == len(reports), f"{rows.count()} kernels, and {len(reports)} reports")
    for at, report in enumerate(reports):
        cells = rows.nth(at).locator("th, td").all_inner_texts()
        counts = counts_of(report)
        for column, field in COUNTS.items():
            shown = int(cells[heads.index(column)])
            expected = counts[field] + (counts["unexpected_passes"] if field == "passed" else 0)
            check(shown == expected, f"{cells[0]}: {shown} {column}, and {expected} in {report.name}")


def by_keyboard(page):
    """Every failure is reached and opened without a mouse."""
    link = page.locator("td.fail a").first
    target = link.get_attribute("href").removeprefix("#")
    details = page.locator(f"[id='{target}']")
    check(details.count() == 1, f"there is no failure {target} to go to")
    link.focus()
    page.keyboard.press("Enter")
    check(page.evaluate("location.hash") == f"#{target}", "Enter on a failed cell does not go to its failure")
    check(details.get_attribute("open") is None, "failures are open before anybody asks")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    opened = page.evaluate("document.activeElement.parentElement.id")
    check(opened == target, f"the next stop of the keyboard is {opened!r}, not the failure")
    check(details.get_attribute("open") is not None, "Enter does not open a failure")
    text = details.inner_text()
    for part in ("call", "expected", "actual", "requirement"):
        check(part in text, f"an opened failure does not say {part}")
    picture = page.locator("svg.flags").first
    check(picture.get_attribute("aria-label").strip(), "the picture of the flags has no text for who cannot see it")
    check(picture.evaluate("picture => picture.getBBox().width") > 0, "the picture of the flags is empty")


def main():
    browser, page_file, report_directory, pictures = sys.argv[1:]
    pictures = pathlib.Path(pictures)
    # In the order of the page: as the kernels were given.
    reports = [next(pathlib.Path(report_directory).glob(pattern)) for pattern in ("*5.10*.json", "*6.1*.json")]
    texts = {}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, width, colours, scripts in SETTINGS:
            context = chromium.new_context(
                viewport={"width": width, "height": 900}, color_scheme=colours, java_script_enabled=scripts
            )
            page = context.new_page()
            page.goto(pathlib.Path(page_file).resolve().as_uri())
            look(page, name, colours, reports, pictures)
            texts[name] = page.locator("body").inner_text()
            if scripts:
                by_keyboard(page)
            context.close()
        print(f"Chromium {chromium.version}: {', '.join(texts)}")
        chromium.close()
    check(texts["no-scripts"] == texts["light"], "without scripts it says something else")


main()

"""The report in a real browser: Debian's chromium, headless, without any network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prorl_nemo.evaluation.report import write_report
from tests.support.synthetic_run import BENCHMARKS, write_synthetic_run

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--hide-scrollbars",
)  # fmt: skip

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

# Written into a copy of the page, which is then shown in a frame as wide as the screen to be
# tried (a window of chromium has at least 500 px). Says what the layout came to.
MEASURE = """<script>addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, svg"));
  const small = [...document.querySelectorAll("figure text")]
    .map(e => e.getBoundingClientRect().height).filter(h => h > 0);
  const out = document.createElement("pre");
  out.id = "measured";
  out.textContent = JSON.stringify({inner: innerWidth, scroll: document.documentElement.scrollWidth,
    wide: wide.map(e => e.tagName + "." + e.className).slice(0, 5), text: Math.min(...small)});
  top.document.body.append(out);
});</script></body>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_synthetic_run(
        tmp_path_factory.mktemp("browser") / "run",
        num_problems=20,
        num_samples=16,
        benchmarks=BENCHMARKS[:2] + BENCHMARKS[4:7],
    )
    return write_report(run)


def browse(page: Path, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags,
               page.as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def without_policy(report: Path) -> str:
    """The page, its protection against scripts and requests taken off."""
    text, count = POLICY.subn("", report.read_text())
    assert count == 1
    return text


def requests_of_page(log: Path) -> list[str]:
    """URLs that a page asked for; chromium's own errands have no initiator."""
    events = json.loads(log.read_text())["events"]
    return [
        event["params"]["url"]
        for event in events
        if str(event.get("params", {}).get("initiator", "")) in ("file://", "null")
        and "url" in event["params"]
    ]


def measure(report: Path, tmp_path: Path, *, width: int) -> dict[str, object]:
    page = tmp_path / "measured.html"
    inner = without_policy(report).replace("</body>", MEASURE)
    page.write_text(f'<iframe width="{width}" height="900" srcdoc="{escape(inner)}"></iframe>')
    dom = browse(page, tmp_path, "--dump-dom", "--window-size=1400,1000").stdout
    found = re.search(r'<pre id="measured">(.*?)</pre>', dom)
    assert found is not None
    values = json.loads(unescape(found[1]))
    assert isinstance(values, dict)
    return values


def test_no_console_error_and_no_request_to_any_host(report: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    result = browse(report, tmp_path, "--dump-dom", f"--log-net-log={log}")
    assert "Did the boundary move?" in result.stdout
    assert "CONSOLE" not in result.stderr
    assert [u for u in requests_of_page(log) if not u.startswith(("file:", "data:"))] == []


def test_the_checks_of_console_and_requests_do_see(report: Path, tmp_path: Path) -> None:
    """Negative control: a page with an error and a request to a host is noticed."""
    page = tmp_path / "bad.html"
    bad = '<img src="http://127.0.0.1:9/x.png"><script>undefinedFunction()</script></body>'
    page.write_text(without_policy(report).replace("</body>", bad))
    log = tmp_path / "net.json"
    result = browse(page, tmp_path, "--dump-dom", f"--log-net-log={log}")
    assert "undefinedFunction is not defined" in result.stderr
    assert "http://127.0.0.1:9/x.png" in requests_of_page(log)


def test_the_page_refuses_to_ask_any_host(report: Path, tmp_path: Path) -> None:
    page = tmp_path / "tampered.html"
    bad = '<img src="http://127.0.0.1:9/x.png"></body>'
    page.write_text(report.read_text().replace("</body>", bad))
    log = tmp_path / "net.json"
    result = browse(page, tmp_path, "--dump-dom", f"--log-net-log={log}")
    assert "Content Security Policy" in result.stderr
    assert "http://127.0.0.1:9/x.png" not in requests_of_page(log)


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_no_sideways_scrolling_and_readable_type(report: Path, tmp_path: Path, width: int) -> None:
    measured = measure(report, tmp_path, width=width)
    assert measured["inner"] == width
    assert measured["scroll"] == width, measured["wide"]
    assert measured["wide"] == []
    assert isinstance(measured["text"], int | float)
    assert measured["text"] >= 9.0  # pixels, the height of the smallest line of type


def test_prints_on_a4(report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(report, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf.read_bytes())
    assert len(boxes) >= 2
    for width, height in boxes:
        assert float(width) == pytest.approx(595.3, abs=1.5)  # 210 mm in points
        assert float(height) == pytest.approx(841.9, abs=1.5)  # 297 mm


class Page(HTMLParser):
    """Collects what a screen reader needs."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.attributes if name == tag]


def test_every_figure_has_words_in_place_of_the_picture(report: Path, tmp_path: Path) -> None:
    page = Page()
    page.feed(browse(report, tmp_path, "--dump-dom").stdout)
    figures = len(page.all("figure"))
    assert figures >= 15
    images = [a for _, a in page.attributes if a.get("role") == "img"]
    assert len(images) == figures == len(page.all("svg")) == len(page.all("figcaption"))
    for attributes in images:
        assert len(attributes["aria-label"] or "") > 40
        assert re.search(r"\d", attributes["aria-label"] or "")  # with numbers
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert all(a.get("scope") == "col" for a in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")

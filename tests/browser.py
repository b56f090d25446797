"""A headless Chromium that opens pages from disk, with the network off, and says what is on them.

Typical use, with one browser for a whole module::

    @pytest.fixture(scope="module")
    def browser() -> Iterator[Browser]:
        with open_browser() as opened:
            yield opened

    def test_page(browser: Browser, tmp_path: Path) -> None:
        browser.show(page.render(...), tmp_path)
        browser.check_quiet()
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP = (1280, 900)
TABLET = (768, 1024)
PHONE = (380, 800)

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    # Whatever a page asks the network for fails, and is seen in the log of requests.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    driver_program = shutil.which("chromedriver")
    if not program or not driver_program:
        pytest.skip("needs chromium and chromedriver, which are not on this machine's PATH")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    service = pytest.importorskip("selenium.webdriver.chrome.service").Service
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for flag in (*_FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=service(driver_program, log_output=os.devnull))
        try:
            driver.set_script_timeout(60)
            driver.execute_cdp_cmd("Network.enable", {})
            yield Browser(driver)
        finally:
            driver.quit()


class Browser:
    """What tests do with a page. Figures are named by their ``name``."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._requests: list[str] = []
        self._errors: list[str] = []

    # ---- opening

    def show(self, content: bytes, folder: Path, *, size: tuple[int, int] = DESKTOP, touch: bool = False) -> None:
        """Open a page that is written to ``folder``, and draw all its figures that are not in closed disclosures."""
        path = folder / "page.html"
        path.write_bytes(content)
        self.open(path, size=size, touch=touch)

    def open(self, path: Path, *, size: tuple[int, int] = DESKTOP, touch: bool = False) -> None:
        self._drain()
        self._requests.clear()
        self._errors.clear()
        self.resize(size, touch=touch)
        self.driver.get(path.resolve().as_uri())
        self.draw_all()

    def draw_all(self) -> None:
        """Draw every figure, in view or not, and wait for it."""
        self.wait("return !!window.lronnx")
        self.driver.execute_async_script("const done = arguments[0]; lronnx.drawAll().then(() => done())")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is on the screen."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20)))"
        )

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """Wait until a script returns something true; what it returns."""
        end = time.monotonic() + seconds
        while not (result := self.driver.execute_script(script)):
            assert time.monotonic() < end, f"not true after {seconds} s: {script}"
            time.sleep(0.02)
        return result

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    # ---- surroundings

    def resize(self, size: tuple[int, int], *, touch: bool = False) -> None:
        """The size of the window in CSS pixels; ``touch``: a finger is its only pointer."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        if self.driver.execute_script("return !!window.lronnx"):
            self.settle()
            self.settle()

    def emulate(self, **features: str) -> None:
        """Media features by name with ``_`` for ``-``: ``emulate(prefers_color_scheme="dark")``; none: the defaults."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})
        if self.driver.execute_script("return !!window.lronnx"):
            self.settle()

    # ---- what is seen

    def text(self) -> str:
        """All text of the page as it is shown, closed disclosures left out."""
        return str(self.run("return document.body.innerText"))

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
            options["clip"] = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))

    def overflow(self) -> list[str]:
        """What is wider than the window, other than inside of what scrolls by itself; empty if nothing is."""
        return list(
            self.run("""
                const width = document.documentElement.clientWidth;
                const found = document.documentElement.scrollWidth > width ? ["the page itself"] : [];
                for (const element of document.querySelectorAll("body *")) {
                  if (!element.getClientRects().length) continue;
                  const box = element.getBoundingClientRect();
                  let at = element.parentElement;
                  const clips = (one) => ["auto", "scroll", "hidden"].includes(getComputedStyle(one).overflowX);
                  while (at && !clips(at)) at = at.parentElement;
                  // Plotly measures texts in an element far outside.
                  if (at || element.closest("svg *, .offscreen, #js-plotly-tester")) continue;
                  if (box.right > width + 1 || box.left < -1)
                    found.push(`${element.tagName}.${element.className}: ${box.left} to ${box.right} of ${width}`);
                }
                return found;
            """)
        )

    def marks(self, figure: str) -> list[dict[str, Any]]:
        """The marks of a figure that are drawn: ``panel``, ``kind``, ``name``, ``count`` and ``way`` (how).

        The count is asked of who drew: of Plotly's own data and elements, of the canvas' painter, or of the overlay's.
        """
        return list(
            self.run(
                """
                const chart = document.getElementById(`figure-${arguments[0]}`).chart;
                const drawn = [];
                chart.data.panels.forEach((panel, i) => panel.marks.forEach((mark) => {
                  let [count, way] = [0, "none"];
                  if (mark.trace >= 0) {
                    const full = chart.plot._fullData[mark.trace];
                    const calculated = chart.plot.calcdata[mark.trace];
                    way = "plotly";
                    count = full.visible === true ? full._length : 0;
                    if (full.visible === true && calculated.length !== full._length) count = calculated.length;
                    if (mark.kind === "Steps" || mark.kind === "Area") count /= 2;
                  } else if (mark.painted !== undefined) {
                    way = mark.kind === "Boxes" || mark.kind === "Texts" ? "overlay" : "canvas";
                    count = mark.painted;
                  }
                  drawn.push({ panel: i, kind: mark.kind, name: mark.name || "", count, way });
                }));
                return drawn;
                """,
                figure,
            )
        )

    def place(self, figure: str, panel: int, x: float, y: float, *, side: str = "y") -> tuple[float, float]:
        """Where (x, y) in a panel's units is in the window, in pixels; the page is scrolled to it."""
        script = """
            const [name, panel, x, y, side] = arguments;
            const chart = document.getElementById(`figure-${name}`).chart;
            const scale = chart.scale.panels[panel][side];
            const at = () => {
              const box = chart.plot.getBoundingClientRect();
              return [box.left + chart.scale.x(x), box.top + scale(y)];
            };
            window.scrollBy({ top: at()[1] - innerHeight / 2, behavior: "instant" });
            return at();
        """
        left, top = self.run(script, figure, panel, x, y, side)
        return float(left), float(top)

    def hover(self, figure: str, panel: int, x: float, y: float, *, side: str = "y") -> str:
        """Move the mouse to (x, y) in a panel's units; what is told there, empty if nothing is."""
        self.move(5, 5)
        left, top = self.place(figure, panel, x, y, side=side)
        self.settle()
        self.move(left, top)
        self.settle()
        script = """
            const tip = document.getElementById(`figure-${arguments[0]}`).querySelector(".tip");
            return tip.hidden ? "" : tip.textContent;
        """
        return str(self.run(script, figure))

    def readout(self, figure: str) -> str:
        """What the line under a figure says."""
        script = "return document.getElementById(`figure-${arguments[0]}`).querySelector('.readout')?.textContent || ''"
        return str(self.run(script, figure))

    # ---- hands

    def move(self, left: float, top: float) -> None:
        self._mouse("mouseMoved", left, top)

    def click(self, left: float, top: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._mouse(kind, left, top)
        self.settle()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._mouse("mouseMoved", *start)
        self._mouse("mousePressed", *start)
        for share in (0.25, 0.5, 0.75, 1.0):
            self._mouse("mouseMoved", *(a + (b - a) * share for a, b in zip(start, end, strict=True)), held=True)
        self._mouse("mouseReleased", *end)
        self.settle()

    def tap(self, left: float, top: float) -> None:
        self._touch("touchStart", (left, top))
        self._touch("touchEnd")
        self.settle()

    def swipe(self, left: float, top: float, *, up: float) -> None:
        """Move a finger up by so many pixels, which scrolls a page down."""
        self._touch("touchStart", (left, top))
        for share in range(1, 11):
            self._touch("touchMove", (left, top - up * share / 10))
        self._touch("touchEnd")
        # The page goes on for a while.
        place = None
        while place != (place := self.run("return window.scrollY")):
            time.sleep(0.15)

    def wheel(self, left: float, top: float, *, down: float) -> None:
        event = {"type": "mouseWheel", "x": left, "y": top, "deltaX": 0, "deltaY": down}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        self.settle()

    def _touch(self, kind: str, *points: tuple[float, float]) -> None:
        event = {"type": kind, "touchPoints": [{"x": left, "y": top} for left, top in points]}
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def _mouse(self, kind: str, left: float, top: float, *, held: bool = False) -> None:
        pressed = kind != "mouseMoved"
        event = {"type": kind, "x": left, "y": top, "button": "left" if pressed or held else "none"}
        event |= {"buttons": 1 if held or kind == "mousePressed" else 0, "clickCount": 1 if pressed else 0}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def press(self, *keys: str) -> None:
        """Press keys by their names in JavaScript: "Tab", "ArrowRight", "Enter"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        for key in keys:
            event: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            if key == "Enter":
                event["text"] = "\r"
            for kind in ("keyDown", "keyUp"):
                self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, **event})
        self.settle()

    # ---- what must not happen

    def _drain(self) -> None:
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        self._errors += [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for since the page was opened."""
        self._drain()
        return list(self._requests)

    def errors(self) -> list[str]:
        """Everything that the console said since the page was opened."""
        self._drain()
        return list(self._errors)

    def check_quiet(self, hostile: Sequence[str] = ("pwned",)) -> None:
        """Nothing was asked of the network, nothing is in the console, no foreign script ran, and no NaN is shown."""
        requests = self.requests()
        assert any(url.startswith("file:") for url in requests), f"the log of requests is not kept: {requests}"
        foreign = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
        assert not foreign
        assert len({url for url in requests if url.startswith("file:")}) == 1, requests
        assert not self.errors()
        for name in hostile:
            assert self.run("return typeof window[arguments[0]]", name) == "undefined"
        broken = self.run("""
            const found = [];
            const wrong = /\\b(NaN|undefined|Infinity)\\b/;
            for (const element of document.querySelectorAll("body *:not(script)")) {
              for (const { name, value } of element.attributes) if (wrong.test(value)) found.push(`${name}="${value}"`);
              for (const node of element.childNodes)
                if (node.nodeType === 3 && wrong.test(node.data)) found.push(node.data);
            }
            return found.slice(0, 10);
        """)
        assert not broken

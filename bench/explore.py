"""Measure the explorer's latencies in the browser, from the request on.

    python -m bench.explore MODEL [--out FILE.json]      MODEL as in `cutaway explore --model`, ideally of 124M

The budgets are for an idle machine with two cores; each number is the median of several tries.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import Page, sync_playwright

from bench.machine import describe

TRIES = 5
LONG = 1024  # tokens
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")

# Milliseconds from a change of the address until the page shows the result; run inside the page.
UNTIL = """async ([address, shown, isNewText]) => {
  const before = document.querySelector("main").dataset.trace, began = performance.now();
  location.hash = address;
  const same = () => isNewText && document.querySelector("main").dataset.trace === before;
  while (same() || !document.querySelector(shown)) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
SLIDE = """async () => {
  const slider = document.querySelector("input[type=range]"), took = [];
  for (let i = 0; i < 20; i++) {
    slider.value = String(0.5 + i / 20);
    const began = performance.now();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    took.push(performance.now() - began);
  }
  return took.sort((a, b) => a - b)[10];
}"""
# The same from a click on the most likely token until the ten candidates after it are shown.
CLICK = """async () => {
  const main = document.querySelector("main"), before = main.dataset.trace, began = performance.now();
  document.querySelector("ol.candidates button").click();
  const waits = () => main.dataset.trace === before || document.querySelector(".kept[aria-busy=true] ol.candidates");
  while (waits()) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
FIRST_PAINT = 'performance.getEntriesByName("first-contentful-paint")[0].startTime'

BUDGETS = {
    "first paint": 300,  # of the frame, before the model responds
    "first candidates": 1000,
    "click at 300 tokens": 600,
    "click at 353 tokens": 300,  # of the built-in model
    "edit of 16 tokens": 300,
    "edit of 64 tokens": 1000,
    "another head at 1,024 tokens": 150,
    "candidate slider": 16,
}


def main() -> None:
    """Measure and print, and write a file if `--out` is given."""
    parser = argparse.ArgumentParser(prog="python -m bench.explore", description="How quickly the explorer answers.")
    parser.add_argument("model")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with serving(args.model) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        found = measure(page, address)
        browser.close()
    for name, value in found.items():
        print(f"{name:<32}{value:9.1f} ms   budget {BUDGETS[name]:,} ms")
    if args.out:
        document = {
            "model": args.model,
            "machine": describe(),
            "milliseconds": {name: round(value, 1) for name, value in found.items()},
            "budgets": BUDGETS,
        }
        args.out.write_text(json.dumps(document, indent=1) + "\n")


@contextmanager
def serving(model: str) -> Iterator[str]:
    """Run a server during the block, and yield its address."""
    command = [sys.executable, "-m", "cutaway", "explore", "--model", model, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def measure(page: Page, address: str) -> dict[str, float]:
    """Measure every latency of `BUDGETS`, in milliseconds."""
    page.set_default_timeout(300_000)
    page.goto(f"{address}#1/play")
    page.wait_for_selector(".candidates li")
    found = {
        "first paint": float(page.evaluate(FIRST_PAINT)),
        "first candidates": float(page.evaluate("performance.now()")),
    }
    random = np.random.default_rng(0)
    for length in (16, 64):
        found[f"edit of {length} tokens"] = median_of(edits(page, random.integers(0, 50000, length).tolist()))
    for length in (300, 353):
        found[f"click at {length} tokens"] = median_of(clicks(page, random.integers(0, 50000, length).tolist()))
    found["candidate slider"] = median_of(float(page.evaluate(slide)) for slide in repeat(SLIDE))
    longest = int(
        page.evaluate("fetch('api/model').then((answer) => answer.json()).then(({ config }) => config.n_ctx)")
    )
    if longest >= LONG:
        found[f"another head at {LONG:,} tokens"] = median_of(heads(page, random.integers(0, 50000, LONG).tolist()))
    return found


def edits(page: Page, text: list[int]) -> Iterator[float]:
    """Change a token in the middle of a text repeatedly; wait each time for the candidates after it."""
    place = len(text) // 2
    wait(page, text, "play", ".candidates li", is_new_text=True)
    while True:
        text[place] += 1
        yield wait(page, text, "play", ".candidates li", is_new_text=True)


def clicks(page: Page, text: list[int]) -> Iterator[float]:
    """Append the most likely token repeatedly, each as soon as the candidates after the one before are shown."""
    wait(page, text, "play", ".candidates li", is_new_text=True)
    while True:
        yield float(page.evaluate(CLICK))


def heads(page: Page, text: list[int]) -> Iterator[float]:
    """Select one head after the other in a long text."""
    layer = 5
    size = len(text) ** 2
    shown = f'canvas[data-tensor="attn.{layer}"][data-rows="{len(text)}"]'
    wait(page, text, f"attention?layer={layer}", shown, is_new_text=True)
    for head in range(1, TRIES + 1):
        offset = f'[data-offset="{head * size}"]'
        yield wait(page, text, f"attention?layer={layer}&head={head}", shown + offset, is_new_text=False)


def wait(page: Page, text: list[int], view: str, shown: str, *, is_new_text: bool) -> float:
    """Return the milliseconds until the page shows a selector for that text."""
    address = f"#1/{view}{'&' if '?' in view else '?'}ids={','.join(map(str, text))}"
    return float(page.evaluate(UNTIL, [address, shown, is_new_text]))


def median_of(waits: Iterator[float]) -> float:
    """Return the median of several tries."""
    return median(islice(waits, TRIES))


if __name__ == "__main__":
    main()

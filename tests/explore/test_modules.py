from cutaway.explore.modules import ENTRY, imported_name, module_texts

TEXTS = {
    ENTRY: 'import { a } from "./lib/a.js";\nimport "./ui/b.js";\nconst { c } = await import("./c.js");',
    "lib/a.js": "",
    "ui/b.js": 'import { a } from "../lib/a.js";\nexport { b } from "./d.js";',
    "ui/d.js": 'const text = "from nowhere";',
    "c.js": "",
    "unused.js": "",
}


def test_every_imported_module_is_found_once_and_level_by_level() -> None:
    assert list(module_texts(TEXTS.__getitem__)) == [ENTRY, "lib/a.js", "ui/b.js", "c.js", "ui/d.js"]


def test_what_is_read_is_what_is_followed() -> None:
    without = module_texts(lambda name: "" if name == "ui/b.js" else TEXTS[name])
    assert "ui/d.js" not in without
    assert without["ui/b.js"] == ""


def test_paths_are_relative_to_the_module() -> None:
    assert imported_name("views/a.js", "./b.js") == "views/b.js"
    assert imported_name("main.js", "./views/b.js") == "views/b.js"

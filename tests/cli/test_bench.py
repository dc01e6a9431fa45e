from tests.cli.invoke import invoke


def test_measures_prefill_and_decode(mute: str) -> None:
    result = invoke("bench", "--engine", "reference", "--model", mute, "--new-tokens", "2", "--repeats", "1")
    assert (result.code, result.err) == (0, "")
    head, _, titles, *rows = result.out.splitlines()
    assert head == "mute, reference float32, medians of 1"
    assert titles.split() == ["batch", "depth", "tokens", "seconds", "tokens/s"]
    assert [row.split()[:4] for row in rows] == [
        ["prefill", "1", "0", "16"],
        ["decode", "1", "14", "2"],
        ["decode", "16", "14", "32"],
    ]


def test_json_has_every_run(mute: str) -> None:
    command = ("bench", "--engine", "reference", "--model", mute, "--json", "--repeats", "3", "--batch", "2")
    document = invoke(*command, "--prefill", "5", "--depth", "7", "--new-tokens", "3").document
    assert (document["model"], document["engine"], document["threads"]) == ("mute", "reference", None)
    measured = document["measurements"]
    assert isinstance(measured, list)
    assert [(m["task"], m["batch"], m["depth"], m["tokens"]) for m in measured] == [
        ("prefill", 1, 0, 5),
        ("decode", 1, 7, 3),
        ("decode", 2, 7, 6),
    ]
    for m in measured:
        assert sorted(m["seconds"])[1] == m["median_seconds"]
        assert m["tokens_per_second"] == m["tokens"] / m["median_seconds"]


def test_rejects_arguments_out_of_range(mute: str) -> None:
    wrong = (
        ("--depth", "15"),
        ("--depth", "0"),
        ("--prefill", "17"),
        ("--batch", "0"),
        ("--batch", "9" * 23),
        ("--repeats", "0"),
        ("--repeats", "9" * 23),
        ("--new-tokens", "17"),
    )
    for option in wrong:
        result = invoke("bench", "--engine", "reference", "--model", mute, "--new-tokens", "2", *option)
        assert result.code == 2
        assert result.error.startswith(f"cutaway: {option[0]} ") or option[0] + " (" in result.error

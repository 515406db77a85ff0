from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.study import small_plan

from medfed.errors import InvalidInput
from medfed.hospital.consent import ConsentPolicy
from medfed.hospital.site_file import DEFAULT_SITE_FILE, SiteFile, load_site_file, table_for


def load(tmp_path: Path, text: str) -> SiteFile:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return load_site_file(path)


def test_an_absent_file_and_the_default_one_ask_a_person_and_have_no_data(tmp_path: Path) -> None:
    assert load_site_file(tmp_path / "site.toml") == SiteFile()
    default = load(tmp_path, DEFAULT_SITE_FILE)
    assert default == SiteFile(consent=ConsentPolicy(resume="auto"))
    with pytest.raises(InvalidInput, match="names no file"):
        table_for(tmp_path, default, small_plan())


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    text = """
blobs = "mine"
[data]
file = "all.csv"
columns = ["a", "b"]
delimiter = ";"
[[data.for]]
learning_object = "test-disease"
file = "special.csv"
[consent]
resume = "ask"
[[consent.rule]]
decision = "decline"
proposers = ["organiser"]
code = "no-capacity"
"""
    found = load(tmp_path, text)
    assert [entry.file for entry in found.data] == ["special.csv", "all.csv"]
    assert found.data[1].columns == ("a", "b")
    assert (found.consent.resume, found.consent.rules[0].code, found.blobs) == ("ask", "no-capacity", "mine")
    (tmp_path / "special.csv").write_text("age,dose\n1,2\n")
    assert len(table_for(tmp_path, found, small_plan())) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[dtaa]\n", "did you mean 'data'"),
        ('[data]\nfiel = "x"\n', "data.fiel"),
        ('[consent]\nresume = "never"\n', "consent"),
        ('[[consent.rule]]\ndecision = "maybe"\n', r"consent.rule\[0\]"),
        ('[[consent.rule]]\ndecision = "approve"\nproposer = ["x"]\n', "did you mean 'proposers'"),
        ("data = 3\n", "expected a section"),
        ("[data\n", "not TOML"),
        ('[data]\nfile = "x"\nlearning_object = "y"\n', "data.for"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        load(tmp_path, text)
    assert "site.toml" in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        load_site_file(tmp_path / "site.toml")

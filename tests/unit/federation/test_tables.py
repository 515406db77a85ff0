"""Tables come in from files and from memory, bounded, and complain about places rather than values."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfed.errors import InvalidInput
from medfed.federation import tables
from medfed.federation.cells import cell_number, cell_text, shortest_text
from medfed.federation.tables import read_csv, table_from

SECRET = "SECRET-VALUE"


def write(path: Path, data: bytes | str) -> Path:
    target = path / "ward.csv"
    target.write_bytes(data.encode() if isinstance(data, str) else data)
    return target


def refusal(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        call(*args, **kwargs)
    assert SECRET not in str(caught.value)
    return str(caught.value)


class TestCsv:
    def test_header_and_rows_become_columns_with_the_lines_they_stand_on(self, tmp_path: Path) -> None:
        table = table_from(write(tmp_path, 'age, sex \n63,"m"\n\n"6\n4",f\n5,x\n'))
        assert list(table.columns) == ["age", "sex"]
        assert table.texts("sex") == ["m", "f", "x"]
        assert table.lines.tolist() == [2, 4, 6]
        assert table.place(1, "age") == "ward.csv, line 4, column 'age'"

    def test_byte_order_mark_and_windows_line_ends_are_fine(self, tmp_path: Path) -> None:
        table = table_from(write(tmp_path, b"\xef\xbb\xbfage,b\r\n1,2\r\n"))
        assert table.numbers("age").tolist() == [1.0]

    def test_columns_name_a_file_without_a_header(self, tmp_path: Path) -> None:
        table = table_from(write(tmp_path, "1,2\n3,4\n"), columns=["a", "b"])
        assert table.numbers("b").tolist() == [2.0, 4.0]
        assert table.lines.tolist() == [1, 2]

    def test_another_delimiter_may_be_named(self, tmp_path: Path) -> None:
        assert read_csv(write(tmp_path, "a;b\n1;2\n"), delimiter=";").numbers("b").tolist() == [2.0]
        assert "delimiter" in refusal(read_csv, write(tmp_path, "a\n1\n"), delimiter="::")

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (f"a,b\n1,2\n{SECRET}\n", "line 3: 1 fields; expected 2"),
            (f"a,b\n1,2,{SECRET}\n", "line 2: 3 fields; expected 2"),
            (f"a,a\n1,{SECRET}\n", "columns 1 and 2 have the same name"),
            (f"{SECRET},b,{SECRET}\n1,2,3\n", "columns 1 and 3 have the same name"),
            ("a,\n1,2\n", "column 2 needs a name"),
            ("a,b\n", "no rows"),
            ("", "empty"),
            ("\n\n", "empty"),
            (f'a,b\n1,"{SECRET}\n2,3\n', "line 2: malformed CSV: the file ends inside a quoted field"),
            (f'a,b\n1,"{SECRET}"x\n', "line 2: malformed CSV"),
            (b"a,b\n1,2\n3,\xff" + SECRET.encode(), "line 3: not UTF-8"),
            (f"a,b\n1,{SECRET}\n".encode("utf-16"), "not UTF-8"),
            (b"a,b\n1,2\n\0" + SECRET.encode(), "line 3: a zero byte"),
            (f"a,b\n1,{SECRET}{'x' * 140_000}\n", "line 2: malformed CSV: a field of more than 131072"),
            (f"{'a' * 101},b\n1,2\n", "column 1 needs a name of 1 to 100 characters"),
        ],
    )
    def test_refusals_name_the_place_and_never_the_value(
        self, tmp_path: Path, data: bytes | str, expected: str
    ) -> None:
        message = refusal(table_from, write(tmp_path, data))
        assert message.startswith("ward.csv")
        assert expected in message

    def test_ragged_first_line_of_a_file_without_header_is_named(self, tmp_path: Path) -> None:
        message = refusal(table_from, write(tmp_path, f"1,{SECRET}\n"), columns=["a", "b", "c"])
        assert "line 1: 2 fields; expected 3" in message

    def test_an_absent_file_and_a_directory_say_so(self, tmp_path: Path) -> None:
        assert "cannot be read" in refusal(table_from, tmp_path / "absent.csv")
        assert "cannot be read" in refusal(table_from, tmp_path)
        assert "cannot be read" in refusal(table_from, "\0")

    def test_sizes_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path, "a,b\n1,2\n3,4\n5,6\n")
        for bound, value, expected in [
            ("MAX_ROWS", 2, "more than 2 rows"),
            ("MAX_COLUMNS", 1, "2 columns; expected 1 to 1"),
            ("MAX_FILE_BYTES", 8, "larger than"),
        ]:
            with monkeypatch.context() as patch:
                patch.setattr(tables, bound, value)
                assert expected in refusal(table_from, path)


class TestMemory:
    def test_every_kind_of_source_gives_the_same_table(self, tmp_path: Path) -> None:
        ages, sexes = [63.0, 41.5], ["m", "f"]
        structured = np.array(list(zip(ages, sexes, strict=True)), dtype=[("age", "f8"), ("sex", "U1")])
        sources: list[Any] = [
            write(tmp_path, "age,sex\n63,m\n41.5,f\n"),
            {"age": ages, "sex": sexes},
            {"age": np.array(ages), "sex": np.array(sexes)},
            {"age": (63, 41.5), "sex": np.array(sexes, dtype=object)},
            [{"age": a, "sex": s} for a, s in zip(ages, sexes, strict=True)],
            structured,
        ]
        for source in sources:
            table = table_from(source)
            assert len(table) == 2
            assert table.numbers("age").tolist() == ages
            assert table.texts("sex") == sexes

    def test_a_table_passes_through(self) -> None:
        table = table_from({"a": [1]})
        assert table_from(table) is table

    def test_pandas_frames_are_read(self) -> None:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(
            {"n": [1, None, 3], "s": ["a", None, "?"], "i": pandas.array([1, None, 2], dtype="Int64")}
        )
        self._check_frame(table_from(frame))

    def test_polars_frames_are_read(self) -> None:
        polars = pytest.importorskip("polars")
        self._check_frame(table_from(polars.DataFrame({"n": [1, None, 3], "s": ["a", None, "?"], "i": [1, None, 2]})))

    def test_whatever_looks_like_a_frame_is_read(self) -> None:
        class Series:
            def __init__(self, cells: Any) -> None:
                self.cells = cells

            def to_numpy(self) -> Any:
                return self.cells

        class Frame:
            columns = ("n", "s", "i")

            def __getitem__(self, name: str) -> Series:
                whole = np.array([1, None, 2], dtype=object)
                return {
                    "n": Series(np.array([1.0, np.nan, 3.0])),
                    "s": Series(np.array(["a", None, "?"], dtype=object)),
                    "i": Series(whole),
                }[name]

        self._check_frame(table_from(Frame()))

    @staticmethod
    def _check_frame(table: tables.Table) -> None:
        assert np.array_equal(table.numbers("n"), [1.0, np.nan, 3.0], equal_nan=True)
        assert table.texts("s") == ["a", None, None]
        assert table.texts("i") == ["1", None, "2"]
        assert np.array_equal(table.numbers("i"), [1.0, np.nan, 2.0], equal_nan=True)

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ({}, "0 columns"),
            ([], "no rows"),
            ({"a": []}, "0 rows"),
            ({"a": [1], "b": [1, 2]}, "column 'b' has 2 rows; 'a' has 1"),
            ({"a": SECRET}, "column 'a' is a str"),
            ({"a": 5}, "column 'a' is a int"),
            ({1: [SECRET]}, "column 1 needs a name"),
            ({"a": np.zeros((2, 2))}, "2 dimensions"),
            ({"a": np.array(["2020-01-01"], dtype="M8[D]")}, "expected numbers or text"),
            ([{"a": 1}, {"b": SECRET}], "row 2: its columns differ"),
            ([{"a": 1}, SECRET], "row 2: expected a mapping"),
            (np.zeros(3), "structured array"),
            (5, "type int"),
            (b"abc", "type bytes"),
        ],
    )
    def test_refusals_say_what_was_expected(self, source: Any, expected: str) -> None:
        assert expected in refusal(table_from, source)

    def test_column_names_are_for_files_only(self) -> None:
        assert "columns=" in refusal(table_from, {"a": [1]}, columns=["a"])


class TestCells:
    def test_missing_column_suggests_the_nearest(self) -> None:
        table = table_from({"trestbps": [1]})
        assert refusal(table.column, "tresbps").endswith("did you mean 'trestbps'?")

    @pytest.mark.parametrize("cell", [SECRET, "1_0", "inf", "1e999", math.inf, [SECRET], {SECRET: 1}, 10**400, b"1"])
    def test_a_cell_that_is_no_number_is_named_by_its_place(self, cell: Any) -> None:
        table = table_from({"age": [1, "2", cell, cell]})
        assert refusal(table.numbers, "age").startswith("table, row 3, column 'age': expected")

    @pytest.mark.parametrize("cell", [[SECRET], b"x", object()])
    def test_a_cell_that_is_no_text_is_named_by_its_place(self, cell: Any) -> None:
        table = table_from({"age": ["a", cell]})
        assert refusal(table.texts, "age") == "table, row 2, column 'age': expected text or a number"

    def test_an_infinite_number_in_an_array_is_refused(self) -> None:
        table = table_from({"age": np.array([1.0, np.nan, -np.inf])})
        assert refusal(table.numbers, "age").startswith("table, row 3, column 'age'")

    @pytest.mark.parametrize("cell", ["", " ", "?", "NA", "NaN", " nan ", "n/a", None, math.nan, np.float32("nan")])
    def test_missing_reads_as_missing_everywhere(self, cell: Any) -> None:
        table = table_from({"age": [cell, 1]})
        assert np.array_equal(table.numbers("age"), [np.nan, 1.0], equal_nan=True)
        assert table.texts("age") == [None, "1"]

    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            ("1.0", "1"), ("1.", "1"), (".50", "0.5"), ("-.5", "-0.5"), ("-0.0", "0"), ("2.50", "2.5"),
            ("01", "01"), ("1e0", "1e0"), ("01.0", "01.0"), ("I20.0", "I20.0"), (" a b ", "a b"), (".", "."),
            (1, "1"), (1.0, "1"), (0.25, "0.25"), (True, "1"), (False, "0"), (-3.0, "-3"), (1e300, "1e+300"),
        ],
    )  # fmt: skip
    def test_numbers_are_written_shortest_and_codes_are_left_alone(self, cell: Any, text: str) -> None:
        assert cell_text(cell) == text
        if isinstance(cell, str):
            assert shortest_text(shortest_text(cell.strip())) == text

    def test_decimals_from_databases_are_numbers(self) -> None:
        table = table_from({"price": [Decimal("1.50"), Decimal("NaN"), Decimal(2)]})
        assert np.array_equal(table.numbers("price"), [1.5, np.nan, 2.0], equal_nan=True)
        assert table.texts("price") == ["1.5", None, "2"]
        assert "expected a finite number" in refusal(table_from({"a": [Decimal("inf")]}).numbers, "a")

    def test_long_identifiers_keep_every_digit(self) -> None:
        long = [2**60, 2**60 + 1]
        for cells in (long, np.array(long), np.array(long, dtype=np.uint64)):
            assert table_from({"id": cells}).texts("id") == [str(number) for number in long]

    def test_booleans_and_blanks_around_numbers_are_numbers(self) -> None:
        assert [cell_number(cell) for cell in (True, " 2 ", "-1e3", 4)] == [1.0, 2.0, -1000.0, 4.0]

    def test_numbers_does_not_hand_out_the_tables_own_array(self) -> None:
        table = table_from({"age": np.array([1.0])})
        table.numbers("age")[0] = 9.0
        assert table.numbers("age").tolist() == [1.0]

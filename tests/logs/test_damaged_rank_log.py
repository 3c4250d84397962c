"""A rank log that is damaged or of another schema is refused by file, column and row."""

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_rank_log import TASKS, append, change

from karec.errors import LogSchemaError
from karec.logs.read import read_rank_log, read_tasks
from karec.logs.write import RankLogWriter


def test_missing_column_is_refused(tmp_path):
    with RankLogWriter(tmp_path, ("click",)) as writer:
        writer.append(
            request_id="r",
            user_id=1,
            item_ids=np.array([1]),
            scene="home",
            time_ms=1,
            model_version=1,
            logits=np.zeros((1, 1), np.float32),
            fused=np.zeros(1, np.float32),
        )
    with pytest.raises(LogSchemaError, match=r"part-.*parquet: column 'logit_like' is missing"):
        read_rank_log(tmp_path, TASKS)


def test_column_of_another_type_is_refused(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        append(writer, "r1", [1, 2])
    part = next(tmp_path.glob("*.parquet"))
    table = pq.read_table(part)
    at = table.schema.get_field_index("user_id")
    pq.write_table(table.set_column(at, "user_id", table["user_id"].cast(pa.string())), part)
    with pytest.raises(LogSchemaError, match="column 'user_id' is string, expected int64"):
        read_rank_log(tmp_path, TASKS)


def test_logit_that_is_not_finite_is_refused(tmp_path):
    with RankLogWriter(tmp_path, TASKS) as writer:
        writer.append(
            request_id="r",
            user_id=1,
            item_ids=np.array([1, 2]),
            scene="home",
            time_ms=1,
            model_version=1,
            logits=np.array([[0, 0], [0, np.nan]], np.float32),
            fused=np.zeros(2, np.float32),
        )
    with pytest.raises(LogSchemaError, match="'logit_like', row 1"):
        read_rank_log(tmp_path, TASKS)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(LogSchemaError, match="no rank log"):
        read_rank_log(tmp_path, TASKS)


def test_part_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "part-x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(LogSchemaError, match=r"part-x\.parquet is not a Parquet file"):
        read_rank_log(tmp_path, TASKS)


@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.99])
def test_truncated_part_is_refused(folder, keep):
    (part,) = folder.glob("*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    for read in (lambda: read_rank_log(folder, TASKS), lambda: read_tasks(folder)):
        with pytest.raises(
            LogSchemaError,
            match=rf"{part.name} is not a Parquet file: .*; restore it, or "
            rf"remove it from the folder",
        ):
            read()


def test_altered_part_is_refused(folder):
    """Any byte of a column is altered. Towers would learn from a score with one wrong bit."""
    clean, harmless = read_rank_log(folder, TASKS), 0
    (part,) = folder.glob("*.parquet")
    whole = part.read_bytes()
    logits = pq.ParquetFile(part).metadata.row_group(0).column(7)
    assert logits.path_in_schema == "logit_click"
    begin = min(at for at in (logits.dictionary_page_offset, logits.data_page_offset) if at is not None)
    for at in range(begin, begin + logits.total_compressed_size):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with suppress(LogSchemaError):  # not raised for bytes that are not read: then nothing changes
            np.testing.assert_array_equal(read_rank_log(folder, TASKS).logits, clean.logits)
            harmless += 1
    assert harmless < logits.total_compressed_size / 4
    half = begin + logits.total_compressed_size - 4
    part.write_bytes(whole[:half] + bytes(4) + whole[half + 4 :])
    with pytest.raises(LogSchemaError, match=rf"{part.name} is damaged: .*; restore it, or remove it"):
        read_rank_log(folder, TASKS)


def test_column_that_appears_twice_is_refused(folder):
    part = change(folder, lambda table: table.append_column("user_id", table["item_id"]))
    with pytest.raises(LogSchemaError, match=rf"{part}: column 'user_id' appears 2 times"):
        read_rank_log(folder, TASKS)


def test_renamed_column_is_refused(folder):
    def rename(table):
        renamed = table.rename_columns([name.replace("user", "member") for name in table.column_names])
        return renamed.replace_schema_metadata(table.schema.metadata)

    part = change(folder, rename)
    with pytest.raises(LogSchemaError, match=rf"{part}: column 'user_id' is missing; it has .*'member_id'"):
        read_rank_log(folder, TASKS)


def test_part_without_a_column_is_refused(folder):
    part = change(folder, lambda table: table.drop(["prerank"]))
    with pytest.raises(LogSchemaError, match=rf"{part}: column 'prerank' is missing"):
        read_rank_log(folder, TASKS)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("item_id", None, "column 'item_id', row 1: the cell is empty"),
        ("logit_like", None, "column 'logit_like', row 1: the cell is empty"),
        ("logit_like", float("nan"), "column 'logit_like', row 1: nan is not finite"),
        ("fused", float("inf"), "column 'fused', row 1: inf is not finite"),
        ("prerank", float("nan"), "column 'prerank', row 1: nan is not finite"),
    ],
)
def test_empty_or_infinite_cell_is_refused_with_its_row(folder, column, value, message):
    def spoil(table):
        at = table.schema.get_field_index(column)
        values = [value if row == 1 else old for row, old in enumerate(table[column].to_pylist())]
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    part = change(folder, spoil)
    with pytest.raises(LogSchemaError, match=f"{part}: {message}"):
        read_rank_log(folder, TASKS)


def test_text_that_is_not_utf8_is_refused(folder):
    def spoil(table):
        n = len(table)
        texts = pa.Array.from_buffers(
            pa.string(),
            n,
            [None, pa.py_buffer(np.arange(n + 1, dtype=np.int32).tobytes()), pa.py_buffer(b"\xff" * n)],
        )
        return table.set_column(table.schema.get_field_index("scene"), table.schema.field("scene"), texts)

    name = change(folder, spoil)
    with pytest.raises(LogSchemaError, match=rf"{name} is damaged: .*UTF8"):
        read_rank_log(folder, TASKS)

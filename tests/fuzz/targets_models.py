"""Targets of models, plans, tables and what a site keeps: everything from a file that a person or a peer hands over."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from tests.fuzz.cells import set_cell
from tests.fuzz.target import Target
from tests.support.study import patients, small_plan

from medfed.blobs import DirectoryBlobs
from medfed.crypto import seeded_entropy
from medfed.encoding import decode, encode
from medfed.errors import Tampered
from medfed.federation.baselines import federate_plainly
from medfed.federation.durations import duration_text, duration_words, parse_duration
from medfed.federation.features import read_features
from medfed.federation.learning_state import LearningState
from medfed.federation.model_file import Model, _Attached, decode_model, encode_model, load_model, model_of
from medfed.federation.plan import Plan
from medfed.federation.plan_check import check_plan
from medfed.federation.plan_file import format_plan, load_plan, parse_plan
from medfed.federation.prepared import prepare
from medfed.federation.strategies.memory import Memory
from medfed.federation.tables import read_csv
from medfed.hospital.import_reports import load_report
from medfed.hospital.requests import decode_request
from medfed.hospital.site_file import DEFAULT_SITE_FILE, load_site_file, table_for
from medfed.hospital.vault import Vault
from medfed.ledger.contracts.membership import ChangeAddress
from medfed.ledger.contracts.studies import ApproveStudy
from medfed.models.parameters import Parameters

PLAN: Plan = small_plan()
KEY = b"\x05" * 32
SITE_FILE = b"""blobs = "mine"
[data]
file = "all.csv"
columns = ["age", "dose", "ward", "ill"]
delimiter = ";"
[[data.for]]
learning_object = "test-disease"
file = "special.csv"
[consent]
resume = "ask"
most_resumes = 3
[[consent.rule]]
decision = "decline"
proposers = ["organiser"]
code = "no-capacity"
"""
SHORT_SITE_FILE = DEFAULT_SITE_FILE.replace("# file", "file")
CSV = b'age,dose,ward,ill\n54,1.5,north,1\n"61",-2,"so""uth",0\n,,,0\n70,0.1,east,1\n'


@cache
def state() -> LearningState:
    """A study's state after its last round."""
    tables = {name: patients(name) for name in PLAN.participation.hospitals}
    return federate_plainly(PLAN, {name: prepare(PLAN, table, bytes(32)) for name, table in tables.items()})


@cache
def model() -> Model:
    return model_of(PLAN, state())


@cache
def vault_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vault.db"
        vault = Vault(path, KEY, seeded_entropy(b"vault"))
        vault.put("request/x", encode(ChangeAddress("host")))
        vault.store("record", ChangeAddress("host"))
        vault.outbox_put(3, "work", 1, b"wire")
        vault._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        vault._connection.execute("PRAGMA journal_mode = DELETE")
        vault.close()
        return path.read_bytes()


def parameters(data: bytes, folder: Path) -> None:
    found = Parameters.load(data)
    assert found.save() == data
    assert np.isfinite(found.flat).all()
    assert [array.shape for array in found.values()] == list(found.shapes.values())


def parameters_header(data: bytes, folder: Path) -> None:
    """The header of the same file, with its length put right, before the same values."""
    whole = state().parameters.save()
    data += b" " * (-len(data) % 8)
    parameters(len(data).to_bytes(8, "little") + data + whole[8 + int.from_bytes(whole[:8], "little") :], folder)


def model_header(data: bytes, folder: Path) -> None:
    """The header of a model's file, with its length put right, before the same values."""
    whole = encode_model(model())
    data += b" " * (-len(data) % 8)
    model_file(len(data).to_bytes(8, "little") + data + whole[8 + int.from_bytes(whole[:8], "little") :], folder)


def _header_of(file: bytes) -> bytes:
    return file[8 : 8 + int.from_bytes(file[:8], "little")].rstrip()


def model_file(data: bytes, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(data)
    found = load_model(path)
    assert decode_model(encode_model(found)).digest == found.digest
    found.predict({"age": [50.0], "dose": [0.0], "ward": ["north"]})


def model_parts(data: bytes, folder: Path) -> None:
    """The plan, statistics and card in a model's file, in a file that is otherwise in order and whose card fits."""
    parts = decode(data, _Attached)
    card = msgspec.structs.replace(parts.card, plan=parts.plan.digest)
    data = encode(msgspec.structs.replace(parts, card=card))
    arrays = {name: np.ascontiguousarray(array) for name, array in model().parameters.items()}
    text = base64.b64encode(data).decode("ascii")
    found = decode_model(safetensors.numpy.save(arrays, metadata={"medfed": text}))
    assert np.isfinite(found.predict({"age": [50.0], "dose": [0.0], "ward": ["north"]})).all()


def _attached() -> bytes:
    data = encode_model(model())
    head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return base64.b64decode(head["__metadata__"]["medfed"])


def learning_state(data: bytes, folder: Path) -> None:
    found = LearningState.load(data)
    assert found.save() == data


def memory(data: bytes, folder: Path) -> None:
    assert Memory.load(data).save() == data


def plan_file(data: bytes, folder: Path) -> None:
    path = folder / "plan.toml"
    path.write_bytes(data)
    plan = load_plan(path)
    assert parse_plan(format_plan(plan), "again").digest == plan.digest
    check_plan(plan)


def duration(data: bytes, folder: Path) -> None:
    """As text, and as the number that the text says."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        value: object = int(text[:4000])
    except ValueError:
        value = text
    milliseconds = parse_duration(value)
    assert parse_duration(duration_text(milliseconds)) == milliseconds
    assert duration_words(milliseconds)


def csv_table(data: bytes, folder: Path) -> None:
    path = folder / "table.csv"
    path.write_bytes(data)
    table = read_csv(path)
    assert {len(column) for column in table.columns.values()} == {len(table)}
    read_features(table, PLAN.data)
    prepare(PLAN, table, bytes(32))


def site_file(data: bytes, folder: Path) -> None:
    path = folder / "site.toml"
    path.write_bytes(data)
    (folder / "all.csv").write_bytes(CSV)
    (folder / "special.csv").write_bytes(CSV)
    (folder / "patients.csv").write_bytes(CSV)
    site = load_site_file(path)
    table_for(folder, site, PLAN)


def request(data: bytes, folder: Path) -> None:
    assert encode(decode_request(data)) == data


def report(data: bytes, folder: Path) -> None:
    (folder / "000007.report").write_bytes(data)
    assert encode(load_report(folder)) == data


def vault_file(data: bytes, folder: Path) -> None:
    _write_alone(folder / "vault.db", data)
    use_vault(folder / "vault.db")


def vault_cells(data: bytes, folder: Path) -> None:
    _write_alone(folder / "vault.db", vault_bytes())
    set_cell(folder / "vault.db", data)
    use_vault(folder / "vault.db")


def use_vault(path: Path) -> None:
    with closing(Vault(path, KEY, seeded_entropy(b"again"))) as vault:
        vault.keys_under("request/")
        assert vault.get("request/x") in (None, encode(ChangeAddress("host")))
        assert vault.load("record", ChangeAddress) in (None, ChangeAddress("host"))
        vault.outbox_rows()


def blob(data: bytes, folder: Path) -> None:
    """A stored blob whose bytes are others now is never given out."""
    blobs = DirectoryBlobs(folder / "blobs")
    digest = blobs.put(b"the blob")
    name = digest.hex()
    (folder / "blobs" / name[:2] / name[2:]).write_bytes(data)
    with blobs.open_stream(digest) as stream:
        try:
            assert stream.read() == b"the blob"
        except Tampered:
            assert data != b"the blob"
    assert blobs.get(digest) == b"the blob"


def _write_alone(path: Path, data: bytes) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(data)


def _plans() -> Sequence[bytes]:
    return [format_plan(PLAN).encode()]


def _cells() -> Sequence[bytes]:
    return [bytes([table, column, row, kind]) + b"\x07x" for table in range(2) for column in range(4)
            for row in range(2) for kind in (0, 2, 3, 4, 5)]  # fmt: skip


TARGETS = (
    Target("parameters", parameters, lambda: [state().parameters.save()]),
    Target("parameters-header", parameters_header, lambda: [_header_of(state().parameters.save())], "json"),
    Target("model-header", model_header, lambda: [_header_of(encode_model(model()))], "json", cost=2),
    Target("model-file", model_file, lambda: [encode_model(model())], cost=2),
    Target("model-parts", model_parts, lambda: [_attached()], "msgpack", cost=2),
    Target("learning-state", learning_state, lambda: [state().save()], "msgpack"),
    Target("strategy-memory", memory, lambda: [Memory({"m": np.arange(3.0)}, {"step": 2}).save()], "msgpack"),
    Target("plan-file", plan_file, _plans, "text", cost=3),
    Target("duration", duration, lambda: [b"7d", b"90s", b"600", b"1ms"], "text"),
    Target("csv-table", csv_table, lambda: [CSV], "text"),
    Target("site-file", site_file, lambda: [SITE_FILE, SHORT_SITE_FILE.encode()], "text"),
    Target("vault-request", request,
           lambda: [encode(ChangeAddress("host")), encode(ApproveStudy(bytes(16), bytes(32)))], "msgpack"),
    Target("vault-file", vault_file, lambda: [vault_bytes()], cost=6, keep=False),
    Target("vault-cells", vault_cells, _cells, cost=6),
    Target("blob", blob, lambda: [b"the blob"], cost=6),
)  # fmt: skip

"""Runs an ONNX file on one thread: a tower or a ranker. The native library computes its trees or row sums."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from karec.errors import BundleError, ContractError, Unavailable
from karec.files import open_regular
from karec.models.row_sums import StoredSums, load_sums
from karec.models.trees import Port, StoredTrees, load_trees

MAX_TASKS_CHARACTERS = 1 << 16  # of the JSON list of their names
_DTYPES = {"int64": np.int64, "float32": np.float32}


class OnnxModel:
    """A loaded model. Any number of threads may call ``run``.

    inputs, outputs            names
    input_ports, output_ports  {name: its Port}
    metadata                   metadata of the file, with ``tasks``, ``model_version``, ``kind`` and
                               ``fingerprint``
    fingerprint                hash of graph and weights, "" if the file has none
    trees                      number of trees that the native library scores in place of ONNX Runtime, with
                               the same bits (``karec.models.trees``)
    row_sums_bytes             memory of the table with which the native library computes a part of the first
                               layer, 0 without (``karec.models.row_sums``)

    With ``plain``, ONNX Runtime computes all of the file. Raises BundleError if the file is not a model or
    lacks metadata, or if its file of trees or row sums cannot be read or is damaged.
    """

    def __init__(self, path: Path, threads: int = 1, *, plain: bool = False) -> None:
        path = Path(path)  # callers may give a string
        self.path = path
        stored: StoredTrees | StoredSums | None = None
        try:
            open_regular(path).close()  # ONNX Runtime would wait for the writer of a FIFO
            if not plain:
                stored = load_trees(path) or load_sums(path)
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(f"{path} does not load as an ONNX model: {error}") from error
        if stored is None:
            self._load(str(path), str(path), threads)
        else:
            try:
                # Bytes have no path, so ONNX Runtime refuses weights in other files.
                self._load(stored.rest, "the rest of its model", threads)
            except BundleError as error:
                self._load(str(path), str(path), threads)  # raises if the model itself is at fault
                raise stored.make_error(error) from error
        self._stored = stored
        self.trees = stored.n_trees if isinstance(stored, StoredTrees) else 0
        self.row_sums_bytes: int = stored.sums.bytes if isinstance(stored, StoredSums) else 0
        ports = {port.name: _make_port(port) for port in self._session.get_inputs()}
        self._session_inputs = frozenset(ports)
        if stored is not None:
            stored.check_ports(ports)
            ports = {name: port for name, port in ports.items() if name not in stored.outputs}
        if isinstance(stored, StoredSums):
            ports = {**stored.inputs, **ports}
        self.input_ports: Mapping[str, Port] = ports
        self.output_ports: Mapping[str, Port] = {
            port.name: _make_port(port) for port in self._session.get_outputs()
        }
        self.inputs: tuple[str, ...] = tuple(self.input_ports)
        self.outputs: tuple[str, ...] = tuple(self.output_ports)

    def _load(self, model: str | bytes, name: str, threads: int) -> None:
        """Sets the session and the metadata of ``model``, a path or a file's bytes. Raises BundleError."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(f"{name} does not load as an ONNX model: {error}") from error
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._read_metadata(name)

    def _read_metadata(self, name: str) -> None:
        """Sets ``tasks``, ``model_version``, ``kind`` and ``fingerprint``. Raises BundleError."""
        metadata = self.metadata
        missing = [key for key in ("kind", "model_version", "tasks") if key not in metadata]
        if missing:
            raise BundleError(f"{name}: metadata lacks {missing}")
        version = metadata["model_version"]
        number = re.fullmatch(r"-?\d{1,19}", version, re.ASCII)
        if number is None or not -(2**63) <= int(number.group()) < 2**63:
            raise BundleError(f"{name}: metadata model_version is {version[:60]!r}, expected a whole number")
        try:
            tasks = json.loads(metadata["tasks"]) if len(metadata["tasks"]) <= MAX_TASKS_CHARACTERS else None
        except (ValueError, RecursionError):
            tasks = None
        if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
            raise BundleError(
                f"{name}: metadata tasks is {metadata['tasks'][:60]!r}, expected a JSON list of names"
            )
        self.tasks: tuple[str, ...] = tuple(tasks)
        self.model_version = int(number.group())
        self.kind = metadata["kind"]
        self.fingerprint = metadata.get("fingerprint", "")

    def with_tasks(self, tasks: Sequence[str]) -> OnnxModel:
        """Returns this loaded model with other names of its first tasks. Its outputs stay the same."""
        model = copy.copy(self)
        model.tasks = tuple(tasks)
        return model

    def run(self, inputs: Mapping[str, NDArray[Any]], *outputs: str) -> tuple[NDArray[Any], ...]:
        """Returns the named ``outputs``. Inputs that the model does not have are ignored.

        Raises:
            ContractError: a missing input.
            ValueError: an input of a wrong dtype.
            Unavailable: the model failed to run.
        """
        feeds = {}
        for name, port in self.input_ports.items():
            if name not in inputs:
                raise ContractError(f"{self.path.name} needs the input {name!r}, got {sorted(inputs)}")
            dtype = _DTYPES.get(port.dtype)
            if dtype is not None and inputs[name].dtype != dtype:
                raise ValueError(
                    f"{self.path.name}: input {name!r} is {inputs[name].dtype}, expected {port.dtype}"
                )
            if name in self._session_inputs:
                feeds[name] = inputs[name]
        try:
            if self._stored is not None:
                feeds |= self._stored.run(inputs)
            results = self._session.run(list(outputs), feeds)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise Unavailable(f"{self.path.name} failed: {error}") from error
        return tuple(results)


def _make_port(port: Any) -> Port:
    """Returns the port of an input or output of a session."""
    dtype = port.type.removeprefix("tensor(").removesuffix(")")
    sizes = tuple(size or None if isinstance(size, int) else None for size in port.shape)
    return Port("float32" if dtype == "float" else dtype, sizes or None)

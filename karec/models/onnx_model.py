"""One ONNX file, loaded and run on one thread: every tower and every ranker; trees run in karec's library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from karec.errors import BundleError, ContractError, Unavailable
from karec.models.trees import divide
from karec.types import Array

_DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32}


class OnnxModel:
    """A loaded model. Any number of threads may call ``run`` at once, as ONNX Runtime guarantees.

    ``inputs`` and ``outputs`` are names; ``declared`` {input: (its type as ONNX calls it, its sizes: a
    number, or a name or None where any fits)}; ``tasks``, ``model_version`` and ``kind`` come from the file's
    metadata, and so does ``fingerprint``, which is of graph and weights alone, "" where the file has none.
    ``trees`` is how many trees karec's library scores in ONNX Runtime's place, with the same bits;
    ``other_trees`` says why others stay there. Raises BundleError when the file is not a model or lacks that
    metadata.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            divided = divide(path)
        except (ValueError, OSError) as error:
            raise BundleError(f"{path} does not load as an ONNX model: {error}") from error
        try:
            given = str(path) if divided.rest is None else divided.rest
            self._session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.tasks: tuple[str, ...] = tuple(json.loads(metadata["tasks"]))
            self.model_version = int(metadata["model_version"])
            self.kind = metadata["kind"]
            self.fingerprint: str = metadata.get("fingerprint", "")
        except (KeyError, ValueError) as error:
            raise BundleError(
                f"{path}: metadata tasks, model_version and kind are needed: {error!r}"
            ) from error
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise BundleError(f"{path} does not load as an ONNX model: {error}") from error
        self.path = path
        self._trees = divided.trees
        self.trees = sum(len(each.ensemble) for each in self._trees)
        self.other_trees = divided.left
        of_trees = {name for each in self._trees for name in each.outputs}
        asked = [i for i in self._session.get_inputs() if i.name not in of_trees]
        self._dtypes = {i.name: _DTYPES.get(i.type) for i in asked}
        self.inputs: tuple[str, ...] = tuple(self._dtypes)
        self.declared: dict[str, tuple[str, list[int | str | None]]] = {
            i.name: (i.type.removeprefix("tensor(").removesuffix(")"), i.shape) for i in asked
        }
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, inputs: Mapping[str, Array], *outputs: str) -> tuple[Array, ...]:
        """The named ``outputs`` for ``inputs`` (more than the model asks for is ignored).

        Raises ContractError naming a missing input, ValueError for a wrong dtype, Unavailable when it fails
        to run.
        """
        feeds = {}
        for name, dtype in self._dtypes.items():
            if name not in inputs:
                raise ContractError(
                    f"{self.path.name} asks for the input {name!r}; given are {sorted(inputs)}"
                )
            if dtype is not None and inputs[name].dtype != dtype:
                raise ValueError(
                    f"{self.path.name}: input {name!r} is {inputs[name].dtype}, expected {np.dtype(dtype)}"
                )
            feeds[name] = inputs[name]
        try:
            for trees in self._trees:
                feeds |= trees.scores(inputs[trees.input])
            results = self._session.run(list(outputs), feeds)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise Unavailable(f"{self.path.name} failed: {error}") from error
        return tuple(results)

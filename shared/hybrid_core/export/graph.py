"""Writing an ONNX graph node by node, its large tensors streamed to a file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import require

OPSETS = {"": 18, "com.microsoft": 1}  # the second holds ONNX Runtime's fused operators
_IR_VERSION = 8  # what belongs to opset 18, so that older runtimes read it
_INLINE = 65_536  # bytes; larger tensors go to the data file, which the runtime maps into memory
_ALIGNMENT = 65_536  # bytes; mapping needs offsets that are multiples of the page, on Windows of 64 KiB


class GraphWriter:
    """Collects nodes and tensors and writes a model file; every method returns the name of the value it made.

    Args:
        path: of the model file; the data file beside it is called the same with "_data" behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data_path = path.with_name(f"{path.name}_data")
        self._data = self._data_path.open("wb")
        self._helper = require("onnx.helper", "export")
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def __enter__(self) -> GraphWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()

    def input(self, name: str, shape: Sequence[str], dtype: type) -> str:
        """Declare an input, its dimensions named."""
        self._inputs.append(self._helper.make_tensor_value_info(name, self._type(dtype), list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        """Declare an output, float32."""
        self._nodes.append(self._helper.make_node("Identity", [value], [name], name=f"output/{name}"))
        self._outputs.append(self._helper.make_tensor_value_info(name, self._type(np.float32), list(shape)))

    def tensor(self, name: str, array: NDArray[Any]) -> str:
        """Store a constant; one name is stored once."""
        if name not in self._tensors:
            self._tensors[name] = self._store(name, np.ascontiguousarray(array))
        return name

    def number(self, value: float, dtype: type = np.float32) -> str:
        """Store a scalar."""
        return self.tensor(f"number/{np.dtype(dtype).name}/{value}", np.array(value, dtype=dtype))

    def ints(self, *values: int) -> str:
        """Store a list of axes or dimensions."""
        return self.tensor(f"ints/{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def node(self, kind: str, name: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None) -> str:
        """Add an operator of one output; `kind` begins with "ms." for ONNX Runtime's own operators."""
        domain = "com.microsoft" if kind.startswith("ms.") else None
        made = self._helper.make_node(
            kind.removeprefix("ms."), list(inputs), [name], name=name, domain=domain, **(attributes or {})
        )
        self._nodes.append(made)
        return name

    def choose(self, name: str, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """Add both ways of making a value, of which a run takes the one that the condition tells."""
        branches = {
            "then_branch": self._branch(f"{name}/then", then),
            "else_branch": self._branch(f"{name}/else", otherwise),
        }
        return self.node("If", name, [condition], branches)

    def write(self) -> None:
        """Write the model file."""
        graph = self._helper.make_graph(
            self._nodes, "bge-hybrid", self._inputs, self._outputs, list(self._tensors.values())
        )
        opsets = [self._helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="bge-hybrid")
        self._data.flush()
        self._path.write_bytes(model.SerializeToString())

    def _branch(self, name: str, build: Callable[[], str]) -> Any:
        outer, self._nodes = self._nodes, []
        try:
            value = build()
            result = self._helper.make_tensor_value_info(value, self._type(np.float32), None)
            return self._helper.make_graph(self._nodes, name, [], [result])
        finally:
            self._nodes = outer

    def _store(self, name: str, array: NDArray[Any]) -> Any:
        if array.nbytes <= _INLINE:
            return require("onnx.numpy_helper", "export").from_array(array, name)
        onnx = require("onnx", "export")
        start = -self._data.tell() % _ALIGNMENT + self._data.tell()
        self._data.seek(start)
        self._data.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        tensor = onnx.TensorProto(name=name, data_type=self._type(array.dtype), dims=array.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", self._data_path.name), ("offset", start), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def _type(self, dtype: Any) -> int:
        return int(self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

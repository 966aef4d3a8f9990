"""The built wheel, without the checkout: everything it needs is inside, and it runs the main job."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and the dependencies of this one without the checkout.

    A path file makes the dependencies importable; the path files among them (an editable install is one) are
    not followed from there.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def test_the_wheel_holds_data_and_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "fanscribe/py.typed",
        "fanscribe/engines/sample.flac",
        "fanscribe/engines/templates/engine.py.txt",
        "fanscribe_handlers/py.typed",
        "fanscribe_handlers/whisper/variants/whisper-base.yaml",
        "fanscribe_handlers/diarize_onnx/variants/diarize-onnx.yaml",
        "fanscribe_handlers/diarize_onnx/weights/segmentation-3.0.onnx",
        "fanscribe_handlers/diarize_onnx/weights/campplus.onnx",
        "fanscribe_orchestrator/__init__.py",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/THIRD_PARTY_NOTICES.md") for name in names)
    assert not [name for name in names if name.startswith(("tests", "client", "handlers/"))]
    weights = [each for each in zipfile.ZipFile(wheel).infolist() if each.filename.endswith(".onnx")]
    assert sum(each.file_size for each in weights) <= 20_000_000


def test_the_wheel_runs_the_main_job(installed: Path, tmp_path: Path) -> None:
    sample = ROOT / "docs" / "samples" / "conversation.flac"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["FANSCRIBE_STATE_DIR"] = str(tmp_path / "state")
    where = subprocess.run(
        [str(installed), "-c", "import fanscribe; print(fanscribe.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(ROOT) not in where.stdout
    done = subprocess.run(
        [
            str(installed),
            "-m",
            "fanscribe.cli",
            "transcribe",
            str(sample),
            "--diarize",
            "--platform",
            "local",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == {"SPEAKER_00", "SPEAKER_01"}
    assert "harbor" in done.stdout or "harbour" in done.stdout

"""Images: which there are, how they are called, and the exact commands that build and push them."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fanscribe
from fanscribe.catalogue import load_catalogue
from fanscribe.cli import app
from fanscribe.cli.exits import Exit
from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.images import build_command, images, push_command, version_of

ROOT = Path(__file__).resolve().parent.parent.parent
VARIANTS = list(load_catalogue().variants.values())

runner = CliRunner()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "dockerfiles").mkdir()
    for family in ("whisper", "diarize_onnx"):
        (tmp_path / "dockerfiles" / f"{family}.Dockerfile").touch()
    (tmp_path / "client" / "fanscribe").mkdir(parents=True)
    (tmp_path / "client" / "fanscribe" / "__init__.py").write_text('__version__ = "3.1.4"\n')
    return tmp_path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that notes how it is called; `fail` beside it makes it fail. The folder is all there is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "docker"
    script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n[ ! -e {folder}/fail ] || exit 7\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_the_version_is_the_checkouts(checkout: Path, tmp_path: Path) -> None:
    assert version_of(checkout) == "3.1.4"
    assert version_of(ROOT) == fanscribe.__version__
    with pytest.raises(UsageError, match="there is no checkout of fanscribe"):
        version_of(tmp_path / "elsewhere")


def test_one_image_serves_a_family(checkout: Path) -> None:
    diarizer, whisper = images(checkout, VARIANTS, version="1.2.0+local", registry="ghcr.io/Some-One/")
    assert diarizer.tag == "ghcr.io/some-one/fanscribe-diarize-onnx:1.2.0-local"
    assert whisper.variants[0] == "whisper-base"
    assert {"whisper-large-v3", "whisper-distil-large-v3"} <= set(whisper.variants)
    assert build_command(whisper, checkout) == [
        "docker",
        "buildx",
        "build",
        "--platform",
        "linux/amd64",
        "--file",
        str(checkout / "dockerfiles" / "whisper.Dockerfile"),
        "--tag",
        "ghcr.io/some-one/fanscribe-whisper:1.2.0-local",
        "--load",
        str(checkout),
    ]
    assert push_command(whisper) == ["docker", "push", whisper.tag]


def test_baked_weights_are_in_the_tag_and_the_token_in_no_command(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    (image,) = images(checkout, VARIANTS, version="1", bake="whisper-large-v3")
    assert image.tag == "fanscribe-whisper:1-whisper-large-v3"
    command = build_command(image, checkout, push=True)
    assert command[-6:] == [
        "--build-arg",
        "BAKE_MODEL=whisper-large-v3",
        "--secret",
        "id=HF_TOKEN,env=HF_TOKEN",
        "--push",
        str(checkout),
    ]
    assert "hf_secret" not in " ".join(command)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"only": ["nope"]}, "nope: has no Dockerfile; there are diarize_onnx, whisper"),
        ({"bake": "nope"}, "--bake nope: unknown variant"),
        ({"bake": "diarize-onnx"}, "its weights are part of the package"),
        ({"bake": "whisper-base", "only": ["diarize_onnx"]}, "belongs to the family whisper"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(checkout: Path, wishes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        images(checkout, VARIANTS, version="1", **wishes)  # type: ignore[arg-type]


def test_a_folder_without_dockerfiles_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no dockerfiles/\*\.Dockerfile"):
        images(tmp_path, VARIANTS, version="1")


def test_the_images_of_this_checkout_are_listed() -> None:
    done = runner.invoke(app, ["images", "list", "--context", str(ROOT), "--json"])
    listed = {each["family"]: each for each in json.loads(done.stdout)}
    assert listed["whisper"]["image"] == f"fanscribe-whisper:{fanscribe.__version__}"
    assert "whisper-base" in listed["whisper"]["variants"]
    assert listed["orchestrator"]["image"] == f"fanscribe-orchestrator:{fanscribe.__version__}"
    assert listed["orchestrator"]["variants"] == []
    assert "diarize_onnx" in runner.invoke(app, ["images", "list", "--context", str(ROOT)]).stdout


def test_a_dry_run_prints_the_commands_and_needs_no_docker(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = runner.invoke(app, ["images", "build", "--context", str(checkout), "--dry-run"])
    assert done.exit_code == Exit.DONE
    built = [line.split("--tag ")[1].split()[0] for line in done.stdout.splitlines()]
    assert built == ["fanscribe-diarize-onnx:3.1.4", "fanscribe-whisper:3.1.4"]


def test_build_and_push_run_docker(checkout: Path, docker: Path) -> None:
    at = ["--context", str(checkout), "--registry", "ghcr.io/me"]
    assert runner.invoke(app, ["images", "build", "whisper", *at]).exit_code == Exit.DONE
    assert runner.invoke(app, ["images", "push", "whisper", *at]).exit_code == Exit.DONE
    asked, built, pushed = (docker / "calls").read_text().splitlines()
    assert asked == "buildx version"
    assert built.startswith("buildx build --platform linux/amd64")
    assert pushed == "push ghcr.io/me/fanscribe-whisper:3.1.4"


def test_a_docker_that_is_missing_or_fails_is_said(
    checkout: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--context", str(checkout), "--registry", "ghcr.io/me"]
    (docker / "fail").touch()
    failed = runner.invoke(app, ["images", "push", *at])
    assert failed.exit_code == Exit.FAILED
    assert "docker ended with status 7" in failed.stderr
    assert len((docker / "calls").read_text().splitlines()) == 1, "the first failure ends the row"
    assert "docker has no buildx" in runner.invoke(app, ["images", "build", *at]).stderr
    monkeypatch.setenv("PATH", os.devnull)
    assert "docker is not installed" in runner.invoke(app, ["images", "build", *at]).stderr


def test_pushing_without_a_registry_is_refused(checkout: Path) -> None:
    for command in (["push"], ["build", "--push"]):
        done = runner.invoke(app, ["images", *command, "--context", str(checkout)])
        assert done.exit_code == Exit.USAGE
        assert "--registry: give the prefix to push to" in done.stderr

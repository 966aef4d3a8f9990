"""The command line without any platform: usage, exit codes, and where results go."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fanscribe.cli import app
from fanscribe.cli.exits import Exit, worst
from fanscribe.cli.output import FORMATS
from fanscribe.contracts.task import ResponseFormat
from fanscribe.contracts.transcript import Segment, Transcript

runner = CliRunner()


def test_the_formats_are_those_of_the_contract() -> None:
    assert sorted(FORMATS) == sorted(ResponseFormat)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], Exit.DONE),
        ([Exit.DONE, Exit.PARTIAL], Exit.PARTIAL),
        ([Exit.PARTIAL, Exit.USAGE, Exit.DONE], Exit.USAGE),
        ([Exit.USAGE, Exit.FAILED, Exit.PARTIAL], Exit.FAILED),
    ],
)
def test_several_inputs_end_with_the_worst_code(codes: list[Exit], expected: Exit) -> None:
    assert worst(codes) is expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speakers", "0", "--diarize"], "--speakers 0: must be above 0"),
        (["--speakers", "65", "--diarize"], "--speakers 65: at most 64"),
        (["--speakers", "2", "--min-speakers", "1", "--diarize"], "--speakers excludes"),
        (["--min-speakers", "3", "--max-speakers", "2", "--diarize"], "--min-speakers 3: must not be above"),
        (["--speakers", "2"], "needs diarization"),
        (["--diarize", "--per-channel"], "exclude each other"),
        (["--format", "docx"], "--format docx: unknown format"),
        (["--platform", "moon"], "--platform moon"),
        (["--timestamps", "letter"], "--timestamps letter"),
        (["--deadline", "0"], "--deadline 0"),
        (["--deadline", "nan"], "--deadline: Input should be a finite number"),
        (["--orchestrator-name", ""], "--orchestrator-name: is empty"),
        (["--language", "english"], "language"),
        (["-o", "no/such/folder/a.txt"], "-o no/such/folder/a.txt: there is no folder"),
        (["--endpoints", "gone.toml", "--platform", "local"], "gone.toml: cannot be read"),
        (["--model", "nope", "--platform", "local"], "--model nope: unknown model"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone: Path, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["transcribe", str(tone), "--quiet", *arguments])
    assert done.exit_code == Exit.USAGE
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_missing_file_is_named_and_starts_nothing(tmp_path: Path) -> None:
    done = runner.invoke(app, ["transcribe", str(tmp_path / "gone.mp3"), "--platform", "local", "-q"])
    assert done.exit_code == Exit.USAGE
    assert "gone.mp3: there is no such file" in done.stderr


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    done = runner.invoke(app, ["transcribe", "a/talk.mp3", "b/talk.wav", "-o", str(tmp_path / "out")])
    assert done.exit_code == Exit.USAGE
    assert "several inputs would be written to talk" in done.stderr


def test_engines_are_listed_and_shown() -> None:
    listed = json.loads(runner.invoke(app, ["engines", "list", "--json"]).stdout)
    assert "whisper-base" in [each["id"] for each in listed]
    assert "whisper-base" in runner.invoke(app, ["engines", "list"]).stdout
    shown = runner.invoke(app, ["engines", "show", "turbo", "--json"])
    assert json.loads(shown.stdout)["id"] == "whisper-large-v3-turbo"
    unknown = runner.invoke(app, ["engines", "show", "nope"])
    assert unknown.exit_code == Exit.USAGE


def test_a_saved_transcript_is_rendered(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    transcript = Transcript("Hi.", "en", duration=1, segments=[Segment(0, 1, "Hi.", "SPEAKER_00")])
    file.write_text(json.dumps(transcript.to_dict()))
    assert "Hi." in runner.invoke(app, ["render", str(file)]).stdout
    out = tmp_path / "talk.srt"
    assert runner.invoke(app, ["render", str(file), "--format", "srt", "-o", str(out)]).exit_code == 0
    assert "00:00:00,000 --> 00:00:01,000" in out.read_text()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    file.write_text("[]")
    refused = runner.invoke(app, ["render", str(file)])
    assert refused.exit_code == Exit.USAGE
    assert "not a transcript" in refused.stderr


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(Transcript("Hi.").to_dict()))
    done = runner.invoke(app, ["render", str(file), "-o", "/dev/full"])
    assert done.exit_code == Exit.FAILED
    assert "-o /dev/full: cannot be written: No space left on device" in done.stderr


def test_the_folder_for_several_inputs_is_made_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = runner.invoke(
        app, ["transcribe", "gone-a.mp3", "gone-b.mp3", "-o", str(out), "--platform", "local"]
    )
    assert done.exit_code == Exit.USAGE
    assert out.is_dir()
    (tmp_path / "file").touch()
    refused = runner.invoke(app, ["transcribe", "a.mp3", "b.mp3", "-o", str(tmp_path / "file" / "x")])
    assert refused.exit_code == Exit.USAGE
    assert "the folder cannot be made" in refused.stderr


def test_a_full_disk_behind_stdout_is_said(tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    file.write_text(json.dumps(Transcript("Hi.", segments=[Segment(0, 1, "Hi.")]).to_dict()))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fanscribe.cli", "render", str(file)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == Exit.FAILED
    assert done.stderr == "fanscribe: standard output: cannot be written: No space left on device\n"


def test_a_profile_of_no_file_is_wrong_usage(tmp_path: Path) -> None:
    for more in ([], ["--managed", "--endpoints", str(tmp_path / "endpoints.toml")]):
        done = runner.invoke(app, ["local", "up", "--profile", "small", *more])
        assert done.exit_code == Exit.USAGE
        assert "--profile: chooses from the file of --endpoints" in done.stderr

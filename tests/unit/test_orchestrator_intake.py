"""From a job's input to a request and a local file."""

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any

import pytest

from fanscribe import media
from fanscribe.catalogue import Catalogue
from fanscribe.contracts.errors import AudioError, AudioRefusedError, DeadlineError, ErrorCode
from fanscribe.contracts.orchestration import OrchestratorInput
from fanscribe.fetch import FetchPolicy
from fanscribe.job_input import Refused
from fanscribe.pipeline.request import Align, SpeakerDetection
from fanscribe.pipeline.sharing import Sharing
from fanscribe_handlers.simulated.recording import CodedRecording
from fanscribe_orchestrator import intake
from fanscribe_orchestrator.intake import NOWHERE, read_input, recording_of, request_of, taken_from
from fanscribe_orchestrator.settings import Settings

SETTINGS = Settings("https://p/v2", "k", Catalogue({}), max_audio_s=60.0)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten seconds of coded words inside of the request."""
    file = tmp_path_factory.mktemp("coded") / "words.wav"
    CodedRecording.lasting(10.0).write_wav(file)
    return "data:audio/wav;base64," + base64.b64encode(file.read_bytes()).decode()


def asked(audio: str, **fields: Any) -> OrchestratorInput:
    return OrchestratorInput.model_validate({"audio": audio} | fields)


class Reading:
    """The recording of a request, while the block runs."""

    def __init__(
        self, request: OrchestratorInput, settings: Settings = SETTINGS, for_s: float = 20.0
    ) -> None:
        self.shares: list[float] = []
        until = asyncio.get_running_loop().time() + for_s
        policy = FetchPolicy(max_bytes=settings.max_bytes)
        self.recording = recording_of(request, policy, settings, until, Sharing(1), self.shares.append)


@pytest.mark.parametrize("body", [{"language": "x" * 100_000}, {f"{'x' * 100_000}{n}": n for n in range(9)}])
def test_a_refusal_does_not_send_the_request_back(body: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read_input({"audio": "data:,"} | body)
    assert str(refused.value).startswith("field ")
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"audio": "https://example.org/\ud800"}, "audio"),
        ({"audio": "data:,", "keyterms": ["fan", "\udfff"]}, "keyterms"),
        ({"audio": "data:,", "speaker_names": ["\ud800"]}, "speaker_names.0"),
        ({"audio": "data:,", "idempotency_key": "\ud800"}, "idempotency_key"),
        ({"audio": "data:,", "clip": {"start": 0, "end": float("inf")}}, "clip.end"),
        ({"audio": "data:,", "clip": {"start": 1e300, "end": 1e301}}, "clip.start"),
    ],
)
def test_what_nobody_could_send_on_is_refused_by_its_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused, match=f"field {field}: ") as refused:
        read_input(body)
    assert refused.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (None, ErrorCode.INVALID_INPUT, "input must be a JSON object"),
        ([], ErrorCode.INVALID_INPUT, "input must be a JSON object"),
        ({}, ErrorCode.INVALID_INPUT, "field audio: Field required"),
        ({"audio": "x"}, ErrorCode.INVALID_INPUT, "field audio: must be an https URL, s3://bucket/key"),
        (
            {"audio": "data:,", "diarise": 1},
            ErrorCode.INVALID_INPUT,
            "field diarise: is unknown; check its spelling",
        ),
        (
            {"audio": "data:,", "num_speakers": 2},
            ErrorCode.INVALID_INPUT,
            "field input: num_speakers, min_speakers",
        ),
        ({"audio": "data:,", "contract_version": "9.1"}, ErrorCode.CONTRACT_MISMATCH, "the request '9.1'"),
    ],
)
def test_what_is_wrong_is_named(body: object, code: ErrorCode, said: str) -> None:
    with pytest.raises(Refused) as caught:
        read_input(body)
    assert caught.value.code is code
    assert said in str(caught.value)


def test_no_value_is_repeated_and_not_every_fault_told() -> None:
    body = {"audio": "https://x.org/?token=s3cret", "prompt": 5} | {
        f"wrong{number}": "s3cret" for number in range(9)
    }
    with pytest.raises(Refused) as caught:
        read_input(body)
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).count("field ") == 5


def test_the_request_of_an_input() -> None:
    wishes = {"diarize": True, "num_speakers": 2, "keyterms": ["Rheingau"], "align": "always", "prompt": "p"}
    request = request_of(asked("data:,", cache=False, **wishes), 7.0)
    assert (request.speaker_detection, request.num_speakers) == (SpeakerDetection.DIARIZE, 2)
    assert (request.keyterms, request.align, request.cache) == (("Rheingau",), Align.ALWAYS, False)
    assert (request.prompt, request.deadline_s, request.model) == ("p", 7.0, "auto")


async def test_audio_inside_of_the_request_does_not_stay_in_memory(audio: str) -> None:
    body: dict[str, Any] = {"audio": audio, "keyterms": ["Rheingau"]}
    job = {"id": "j", "input": body}
    request = taken_from(job)
    assert (job, body) == ({"id": "j"}, {})  # the SDK keeps the body's dictionary beside the job
    async with Reading(request).recording as recording:
        assert recording.file.stat().st_size > 100_000
        assert (request.audio, request.keyterms) == (NOWHERE, ["Rheingau"])


async def test_the_audio_is_a_scratch_file_that_goes(audio: str) -> None:
    reading = Reading(asked(audio))
    async with reading.recording as recording:
        assert media.probe(recording.file, "x").duration_s == pytest.approx(10.0, abs=0.1)
        assert (recording.name, recording.address) == ("data URI", None)
        folder = recording.file.parent
    assert not folder.exists()


@pytest.mark.parametrize("fields", [{"clip": {"start": 2.0, "end": 5.0}}, {"channel": 0}])
async def test_a_part_is_cut_out(audio: str, fields: dict[str, Any]) -> None:
    async with Reading(asked(audio, **fields)).recording as recording:
        facts = media.probe(recording.file, "x")
        assert facts.duration_s == pytest.approx(3.0 if "clip" in fields else 10.0, abs=0.1)
        assert facts.codec == "flac"
        assert [each.name for each in recording.file.parent.iterdir()] == [recording.file.name]
        assert recording.address is None


async def test_the_same_audio_is_known_by_its_content(audio: str) -> None:
    digests = []
    for fields in ({}, {}, {"clip": {"start": 2.0, "end": 5.0}}, {"channel": 0}):
        async with Reading(asked(audio, **fields)).recording as recording:
            digests.append(recording.digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("fields", "settings", "error"),
    [
        ({"channel": 3}, SETTINGS, AudioError),
        ({"clip": {"start": 20.0, "end": 25.0}}, SETTINGS, AudioError),
        ({}, Settings("https://p/v2", "k", Catalogue({}), max_audio_s=5.0), AudioError),
        ({}, Settings("https://p/v2", "k", Catalogue({}), max_bytes=1000), AudioRefusedError),
    ],
)
async def test_what_cannot_be_used(
    audio: str, fields: dict[str, Any], settings: Settings, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with Reading(asked(audio, **fields), settings).recording:
            pytest.fail("it was let through")


class Stuck:
    """A download from a server that has stopped to say anything; it sees only late that it is to stop."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.free = threading.Event()
        self.stopped: bool | None = None

    def fetch(self, reference: str, target: Any, policy: Any, **about: Any) -> None:
        self.begun.set()
        self.free.wait(10.0)
        self.stopped = about["stopped"]()
        raise AudioError("nobody hears this")


async def test_a_stuck_download_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(intake, "fetch", stuck.fetch)
    with pytest.raises(DeadlineError, match="not fetched within the deadline; no job was made"):
        async with Reading(asked("https://x.org/a.mp3"), for_s=0.05).recording:
            pytest.fail("it was let through")
    stuck.free.set()
    while stuck.stopped is None:
        await asyncio.sleep(0.01)
    assert stuck.stopped


async def test_a_cancelled_download_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(intake, "fetch", stuck.fetch)

    async def work() -> None:
        async with Reading(asked("https://x.org/a.mp3")).recording:
            pytest.fail("it was let through")

    task = asyncio.create_task(work())
    while not stuck.begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2.0)
    assert done
    assert task.cancelled()
    stuck.free.set()
    while stuck.stopped is None:
        await asyncio.sleep(0.01)
    assert stuck.stopped

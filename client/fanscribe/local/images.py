"""Which command stands for which container image: this machine runs processes in place of containers."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from fanscribe.local.spec import MIB, EndpointSpec, SpecError


@dataclass(frozen=True, slots=True)
class ImageRule:
    """What runs in place of the images that it matches. Sizes in bytes, of one worker.

    Raises SpecError, naming every fault, when built with values that cannot be meant.
    """

    image: str
    """A pattern (`*`, `?`, `[…]`) that the whole reference matches: `*/whisper[:@]*`."""
    command: tuple[str, ...]
    when: Mapping[str, str] = field(default_factory=dict)
    """Entries that the container's environment must have: one image may serve several models."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Under the container's own environment; `{url}` and `{key}` in a value stand for the platform's."""
    cwd: str | None = None
    ram_bytes: int = 512 * MIB
    vram_bytes: int = 0
    orchestrator: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.image, str) or not self.image:
            raise SpecError("an image rule needs an `image` pattern")
        if not isinstance(self.when, Mapping) or not all(
            isinstance(text, str) for text in (*self.when, *self.when.values())
        ):
            raise SpecError(f"image rule {self.image!r}: when must map strings to strings")
        if not self.command:
            raise SpecError(f"image rule {self.image!r}: command must name a program")
        try:
            self.spec("rule")
        except SpecError as error:
            raise SpecError(str(error).replace("endpoint 'rule'", f"image rule {self.image!r}")) from None

    def matches(self, image: str, environment: Mapping[str, str]) -> bool:
        """Whether it stands for this image with this environment."""
        return fnmatchcase(image, self.image) and all(
            environment.get(name) == value for name, value in self.when.items()
        )

    def spec(self, name: str, **more: Any) -> EndpointSpec:
        """The spec of an endpoint that runs it; `more` are further fields of the spec."""
        return EndpointSpec(
            name=name,
            command=self.command,
            env=self.env,
            cwd=self.cwd,
            ram_bytes=self.ram_bytes,
            vram_bytes=self.vram_bytes,
            orchestrator=self.orchestrator,
            **more,
        )

    def to_json(self) -> dict[str, Any]:
        """The rule as a JSON object that `from_json` reads back."""
        return {
            **asdict(self),
            "command": list(self.command),
            "when": dict(self.when),
            "env": dict(self.env),
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, value: Any) -> "ImageRule":
        """Read one rule; raises SpecError for what is not an object or has missing or unknown fields."""
        if not isinstance(value, dict):
            raise SpecError(f"an image rule is a JSON object, not {type(value).__name__}")
        unknown = sorted(set(value) - {item.name for item in fields(cls)})
        if unknown:
            raise SpecError(f"image rule {value.get('image')!r}: unknown fields {', '.join(unknown)}")
        command = value.get("command")
        if not isinstance(command, list | tuple) or not all(isinstance(part, str) for part in command):
            raise SpecError(f"image rule {value.get('image')!r}: command must be a list of strings")
        return cls(**{"image": "", **value, "command": tuple(command)})


def rule_for(rules: Iterable[ImageRule], image: str, environment: Mapping[str, str]) -> ImageRule | None:
    """The first rule that stands for the image with this environment; None when none does."""
    return next((rule for rule in rules if rule.matches(image, environment)), None)

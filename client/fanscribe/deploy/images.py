"""From a checkout and the catalogue to container images, and to the docker commands that build and push them. Pure.

One image serves every variant of a family: a worker is told its variant when it starts. An image with the weights of
one variant baked in has that variant in its tag.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fanscribe.contracts.errors import UsageError
from fanscribe.contracts.variant import Variant

FOLDER = "dockerfiles"
"""Where a checkout keeps its Dockerfiles, one a family, as `<family>.Dockerfile`."""

PLATFORM = "linux/amd64"
"""What the platform's hosts run, whatever the machine that builds."""

_SUFFIX = ".Dockerfile"
_TOKEN_SECRET = "id=HF_TOKEN,env=HF_TOKEN"  # noqa: S105 - names the build secret, holds none


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `tag` is its whole name; `baked` is the variant whose weights it holds, None where it holds none."""

    family: str
    dockerfile: Path
    tag: str
    variants: tuple[str, ...]
    baked: str | None = None


def version_of(checkout: Path) -> str:
    """The version that a checkout's code has. Raises UsageError where the folder is no checkout of fanscribe."""
    file = checkout / "client" / "fanscribe" / "__init__.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise UsageError(
            f"--context {checkout}: there is no checkout of fanscribe: {file} is missing"
        ) from error
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name("__version__")], value=ast.Constant(str(version))):
                return version
    raise UsageError(f"{file}: has no __version__: restore it, image tags carry it")


def images(
    checkout: Path,
    variants: Iterable[Variant],
    *,
    version: str,
    registry: str = "",
    only: Sequence[str] = (),
    bake: str | None = None,
) -> list[Image]:
    """The images of a checkout, by family.

    `registry` is what stands before the image's name, as ghcr.io/you; empty keeps the tag local. `only` names
    families; `bake` a variant whose weights go into the one image that is then made. Raises UsageError for a
    name that does not exist.
    """
    known = list(variants)
    files = {
        file.name.removesuffix(_SUFFIX): file for file in sorted((checkout / FOLDER).glob(f"*{_SUFFIX}"))
    }
    if not files:
        raise UsageError(f"--context {checkout}: has no {FOLDER}/*{_SUFFIX}: give the root of a checkout")
    if unknown := sorted(set(only) - set(files)):
        raise UsageError(f"{unknown[0]}: has no Dockerfile; there are {', '.join(files)}")
    if bake is not None:
        return [_baked(bake, files, known, version, registry, only)]
    return [
        Image(family, file, _tag(registry, family, version), _ids(known, family))
        for family, file in files.items()
        if not only or family in only
    ]


def _baked(
    bake: str, files: dict[str, Path], known: list[Variant], version: str, registry: str, only: Sequence[str]
) -> Image:
    found = next((each for each in known if each.id == bake), None)
    if found is None:
        raise UsageError(f"--bake {bake}: unknown variant; `fanscribe engines list` shows those there are")
    if found.model.source == "bundled":
        raise UsageError(f"--bake {bake}: its weights are part of the package; leave --bake out")
    if found.family not in files:
        raise UsageError(f"--bake {bake}: its family {found.family} has no Dockerfile")
    if only and list(only) != [found.family]:
        raise UsageError(f"--bake {bake}: belongs to the family {found.family}; name that or none")
    tag = _tag(registry, found.family, f"{version}-{bake}")
    return Image(found.family, files[found.family], tag, (bake,), bake)


def _ids(known: list[Variant], family: str) -> tuple[str, ...]:
    return tuple(sorted(each.id for each in known if each.family == family))


def _tag(registry: str, family: str, version: str) -> str:
    # A registry takes only lower case, and no plus sign in a tag (a local version has one).
    name = f"fanscribe-{family.replace('_', '-')}:{version.replace('+', '-')}"
    return f"{registry.rstrip('/').lower()}/{name}" if registry else name


def build_command(image: Image, checkout: Path, *, push: bool = False) -> list[str]:
    """The command that builds an image from a checkout, and pushes it in the same go where `push` is set.

    The hub's token, which baking a gated model needs, travels as a build secret: docker takes it from the
    environment, and neither the command nor the image holds it.
    """
    command = ["docker", "buildx", "build", "--platform", PLATFORM]
    command += ["--file", str(image.dockerfile), "--tag", image.tag]
    if image.baked is not None:
        command += ["--build-arg", f"BAKE_MODEL={image.baked}", "--secret", _TOKEN_SECRET]
    return [*command, "--push" if push else "--load", str(checkout)]


def push_command(image: Image) -> list[str]:
    """The command that pushes an image that is built."""
    return ["docker", "push", image.tag]

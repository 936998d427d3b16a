"""Omniglot (Lake et al. 2015): 1,623 handwritten characters of 50 alphabets, 20 drawings each."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from fewshot_cli.data.images.cache import Arrays, cached
from fewshot_cli.data.images.episodes import ImageTasks, with_rotations
from fewshot_cli.progress import Progress, say
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig, Rotations, Split

PARTS = ("images_background", "images_evaluation")
DRAWINGS = 20
VERSION = 1  # of the decoding below
# The real drawings are 105 pixels a side and take 300 bytes: far above is no drawing but a bomb.
MOST_PIXELS, MOST_BYTES, MOST_FILES = 2**20, 2**20, 200_000

Picture = np.ndarray[Any, np.dtype[np.uint8]]


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Read the official archives, or the folders that they unpack to, once; then from the cache.

    Args:
        config: `root` holds the archives or folders; without it they are downloaded.

    Raises:
        UserError: something in `data.root` is missing, unreadable or not Omniglot, or there is no
            network to download it.
    """
    assert config.image_size is not None
    assert config.samples is not None
    size = config.image_size
    if config.split not in (Split.random, Split.alphabets):
        raise UserError(
            f"data.split={config.split}: is of data=folder; expected random or alphabets"
        )
    if config.samples > DRAWINGS:
        raise UserError(f"data.samples={config.samples}: Omniglot has {DRAWINGS} drawings of each")
    root = Path(config.root).expanduser() if config.root else _download(cache_dir)
    try:
        contents = [_open(root, part) for part in PARTS]
        key = {
            "version": VERSION,
            "renderer": PIL.__version__,
            "image_size": size,
            "parts": [part.key() for part in contents],
        }
        arrays = cached(cache_dir, "omniglot", key, lambda: _decode_all(contents, size))
    except OSError as error:
        raise UserError(
            f"data.root={root}: cannot read {error.filename or 'it'} ({error.strerror or error})"
        ) from error
    images = torch.from_numpy(arrays["images"])[:, : config.samples, None]
    if not config.invert:
        images = 255 - images
    names = arrays["names"].tolist()
    chosen = _split(names, config)
    tables = {split: images[index] for split, index in chosen.items()}
    called = {
        split: [names[place].partition("/")[2] for place in index.tolist()]
        for split, index in chosen.items()
    }
    for split in tables:
        if config.rotations is Rotations.all or config.rotations.value == split:
            tables[split] = with_rotations(tables[split])
            called[split] += [
                f"{name} {turn}°" for turn in (90, 180, 270) for name in called[split]
            ]
    return ImageTasks(tables, device, names=called)


def _split(names: list[str], config: DataConfig) -> dict[str, Tensor]:
    """Indices of the characters of each split, drawn with `split_seed`."""
    assert config.classes is not None
    sizes = config.classes
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(config.split_seed))
    if config.split == Split.alphabets:
        background = torch.tensor([name.startswith(PARTS[0]) for name in names])
        # Training and validation characters come first; the test characters are all the others.
        order = torch.cat([order[background[order]], order[~background[order]]])
        available = {"train": int(background.sum()), "test": int((~background).sum())}
        fits = sizes.train + sizes.valid == available["train"] and sizes.test == available["test"]
    else:
        fits = sizes.train + sizes.valid + sizes.test <= len(names)
    if not fits:
        raise UserError(
            f"data.classes={sizes.train}+{sizes.valid}+{sizes.test}: do not fit the {len(names)} "
            f"characters with data.split={config.split}"
        )
    train, valid, test = order[: sizes.train + sizes.valid + sizes.test].split(
        [sizes.train, sizes.valid, sizes.test]
    )
    return {"train": train, "valid": valid, "test": test}


class _Archive:
    """An official zip: its pictures by name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def key(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = [entry for entry in archive.infolist() if entry.filename.endswith(".png")]
                sizes = [entry.file_size for entry in entries]
                _check_sizes(self.path, len(entries), max(sizes, default=0))
                for entry in sorted(entries, key=lambda entry: entry.filename):
                    yield entry.filename, archive.read(entry)
        except (OSError, UserError):
            raise
        # zipfile and zlib let errors of many kinds out of a damaged archive.
        except Exception as error:
            raise UserError(f"{self.path}: expected a whole zip archive ({error})") from error


class _Folder:
    """An unpacked zip: its pictures by name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def key(self) -> str:
        stats = [(self._name(path), path.stat()) for path in self._files()]
        listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(repr(listing).encode()).hexdigest()

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        files, root = self._files(), self.path.resolve()
        for path in files:
            if not path.resolve().is_relative_to(root) or not path.is_file():
                raise UserError(f"{path}: expected a file inside {self.path}, not a link or device")
            _check_sizes(path, len(files), path.stat().st_size)
            yield self._name(path), path.read_bytes()

    def _files(self) -> list[Path]:
        return sorted(self.path.rglob("*.png"))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path.parent).as_posix()


def _check_sizes(where: Path, files: int, largest: int) -> None:
    if files > MOST_FILES or largest > MOST_BYTES:
        raise UserError(
            f"{where}: {files} pictures, the largest of {largest} bytes; expected Omniglot's "
            "32,460 of some hundred bytes"
        )


def _open(root: Path, part: str) -> _Archive | _Folder:
    # os.stat, since Path.exists hides a lack of permission.
    for path in (root / part, root / f"{part}.zip"):
        try:
            os.stat(path)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            break
        if path.is_dir():
            os.listdir(path)
            return _Folder(path)
        with path.open("rb"):
            return _Archive(path)
    raise UserError(
        f"data.root={root}: expected {part}.zip or the folder {part} there; "
        "leave data.root out to download them"
    )


def _decode_all(parts: list[_Archive | _Folder], size: int) -> Arrays:
    """Every drawing `size` pixels a side, ink 255 on 0, grouped by character."""
    characters: dict[str, list[Picture]] = {}
    with Progress("Decoding Omniglot (once)", 32_460, "images") as progress:
        for part in parts:
            for name, content in part.pictures():
                character = name.rpartition("/")[0]
                drawing = _decode(f"{part.path}: {name}", content, size)
                characters.setdefault(character, []).append(drawing)
                progress.advance()
            if not any(name.startswith(part.path.stem) for name in characters):
                raise UserError(f"{part.path}: expected {part.path.stem}/ALPHABET/CHARACTER/*.png")
    for character, drawings in characters.items():
        if len(drawings) != DRAWINGS:
            raise UserError(
                f"{character}: has {len(drawings)} drawings, expected {DRAWINGS} as in Omniglot"
            )
    return {
        "images": np.stack([np.stack(drawings) for drawings in characters.values()]),
        "names": np.array(list(characters)),
    }


def _decode(where: str, content: bytes, size: int) -> Picture:
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(content), formats=["PNG"])
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{opened.width}x{opened.height} pixels are no drawing")
        if opened.mode.startswith("I"):  # which Pillow would cut to 8 bits
            raise ValueError("16 bits a pixel, not 1 or 8")
        picture = opened.convert("L")
    # Pillow's decoders let errors of many kinds out of a damaged file.
    except Exception as error:
        raise UserError(f"{where}: expected a PNG image ({error})") from error
    ink = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS), np.uint8)
    return np.invert(ink)


def _download(cache_dir: str) -> Path:
    """The archives from their official place, checked by digest, in the cache."""
    folder = Path(cache_dir).expanduser() / "omniglot"
    for part in PARTS:
        path = folder / f"{part}.zip"
        if path.exists():
            continue
        from torchvision.datasets import Omniglot
        from torchvision.datasets.utils import check_md5, download_url

        url = f"{Omniglot.download_url_prefix}/{part}.zip"
        say(f"Downloading {url}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as aside:
                download_url(url, aside, path.name)
                if not check_md5(f"{aside}/{path.name}", Omniglot.zips_md5[part]):
                    raise UserError(f"{url}: not the file that was expected (its digest differs)")
                shutil.move(f"{aside}/{path.name}", path)
        except OSError as error:
            raise UserError(
                f"data.root: cannot download {url} ({error}); put {PARTS[0]}.zip and "
                f"{PARTS[1]}.zip into a folder by hand and name it with data.root=FOLDER"
            ) from error
    return folder

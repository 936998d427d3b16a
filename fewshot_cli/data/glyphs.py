"""The letters of the DejaVu fonts that matplotlib ships: real characters without a download.

One class a letter, one alphabet a script, split by script: no script of meta-test is seen before.
Every letter is scaled to the same box. Letters that look the same (Latin, Greek and Cyrillic "A")
appear once, in the first split that has them; so do small and capital ones of one shape ("c", "C").
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.images.cache import Arrays, cached
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig

SCRIPTS = {
    "train": ("Latin", "Cyrillic", "Arabic", "Canadian Aboriginal"),
    "valid": ("Greek", "Coptic", "Old Italic"),
    "test": ("Armenian", "Georgian", "Hebrew", "Tifinagh", "Lao", "Nko"),
}
POINTS = 40  # the size at which a face draws a letter, in pixels
CANVAS = 96  # pixels a side; holds the widest letter
BOX = 0.7  # share of a picture that a letter's longer side fills
LOOK = 28  # pixels a side at which letters are compared
LOOKS_THE_SAME = 0.08  # share of ink by which two letters must differ
LOOKS_LIKE_ITS_CAPITAL = 0.27  # the same for a small letter, whose strokes are thicker when scaled
VERSION = 2  # of the code below: a change of the pictures needs a new number


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Render, or read from the cache, `samples` pictures of each letter.

    Raises:
        UserError: `data.classes` are not the numbers of letters that these fonts give.
    """
    import matplotlib
    import PIL

    assert config.image_size is not None
    assert config.samples is not None
    size, samples = config.image_size, config.samples
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = sorted(path for path in folder.glob("DejaVu*.ttf") if "Display" not in path.name)
    key = {
        "version": VERSION,
        "faces": [hashlib.sha256(face.read_bytes()).hexdigest() for face in faces],
        "renderer": PIL.__version__,
        "unicode": unicodedata.unidata_version,
        "image_size": size,
        "samples": samples,
    }
    arrays = cached(cache_dir, "glyphs", key, lambda: _render_all(faces, size, samples))
    images = {split: torch.from_numpy(arrays[split]) for split in SCRIPTS}
    for split, table in images.items():
        expected = getattr(config.classes, split)
        if len(table) != expected:
            raise UserError(
                f"data.classes.{split}={expected}: these fonts have {len(table)} letters there"
            )
        if not config.invert:
            images[split] = 255 - table
    names = {
        split: [f"{name} {_letter(name)}" for name in arrays[f"{split}_names"].tolist()]
        for split in SCRIPTS
    }
    return ImageTasks(images, device, names=names)


def _letter(name: str) -> str:
    """That of a code point: the omega of "Greek/U+03A9"."""
    return chr(int(name.rpartition("+")[2], 16))


def _render_all(faces: list[Path], size: int, samples: int) -> Arrays:
    letters = _letters(faces)
    generator = torch.Generator().manual_seed(0)
    total = sum(len(of_split) for of_split in letters.values())
    looks = torch.empty(total, LOOK * LOOK)  # of the letters that are in so far
    distinct = 0
    arrays: Arrays = {}
    with Progress("Rendering the letters (once)", total, "letters") as progress:
        for split, of_split in letters.items():
            pictures, names = [], []
            for letter, fonts in of_split:
                progress.advance()
                look = _view(*_draw(letter, fonts[:1]), LOOK).flatten()
                if distinct and float(_unlike(looks[:distinct], look).min()) < LOOKS_THE_SAME:
                    continue
                if _is_small_capital(letter, look, fonts[0]):
                    continue
                looks[distinct] = look
                distinct += 1
                canvases, sides = _draw(letter, fonts)
                face = torch.arange(samples) % len(fonts)
                views = _view(canvases[face], sides[face], size, generator)
                pictures.append((views * 255).round().to(torch.uint8))
                names.append(f"{_script(letter)}/U+{ord(letter):04X}")
            arrays[split] = torch.stack(pictures)[:, :, None].numpy()
            arrays[f"{split}_names"] = np.array(names)
    return arrays


def _is_small_capital(letter: str, look: Tensor, font: Any) -> bool:
    capital = letter.upper()
    if capital == letter or len(capital) > 1:
        return False
    its_look = _view(*_draw(capital, [font]), LOOK).flatten()[None]
    return float(_unlike(its_look, look)) < LOOKS_LIKE_ITS_CAPITAL


def _script(letter: str) -> str:
    from fontTools import unicodedata as scripts

    return str(scripts.script_name(scripts.script(letter)))


def _letters(faces: list[Path]) -> dict[str, list[tuple[str, list[Any]]]]:
    """For each split its letters in code order, with the fonts that have them."""
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    fonts = [ImageFont.truetype(str(face), POINTS) for face in faces]
    has = [set(TTFont(face, lazy=True).getBestCmap()) for face in faces]
    found: dict[str, list[tuple[str, list[Any]]]] = {split: [] for split in SCRIPTS}
    for code in sorted(set().union(*has)):
        letter = chr(code)
        if unicodedata.category(letter) not in ("Lu", "Ll", "Lo"):
            continue
        for split, scripts in SCRIPTS.items():
            if _script(letter) in scripts:
                drawn_by = [font for font, codes in zip(fonts, has, strict=True) if code in codes]
                found[split].append((letter, drawn_by))
    return found


def _draw(letter: str, fonts: list[Any]) -> tuple[Tensor, Tensor]:
    """The letter as each font draws it, in the middle of a canvas.

    Returns:
        The canvases, float `[F, CANVAS, CANVAS]`, and the letter's longer side in pixels, `[F]`.
    """
    canvases = np.zeros((len(fonts), CANVAS, CANVAS), np.float32)
    sides = []
    for canvas, font in zip(canvases, fonts, strict=True):
        mask = font.getmask(letter, mode="L")
        width, height = mask.size
        left, top = (CANVAS - width) // 2, (CANVAS - height) // 2
        ink = np.frombuffer(bytes(mask), np.uint8).reshape(height, width)
        canvas[top : top + height, left : left + width] = ink / np.float32(255)
        sides.append(max(width, height))
    return torch.from_numpy(canvases), torch.tensor(sides, dtype=torch.float32)


def _view(
    canvases: Tensor, sides: Tensor, size: int, jitter: torch.Generator | None = None
) -> Tensor:
    """Each canvas scaled so that its letter fills BOX of the picture: `[F, size, size]`.

    With `jitter`, turned, sheared, zoomed and shifted a little, each by its own draw.
    """
    count = len(canvases)

    def up_to(limit: float) -> Tensor:
        if jitter is None:
            return torch.zeros(count)
        return (torch.rand(count, generator=jitter) * 2 - 1) * limit

    angle, shear, zoom = up_to(0.2), up_to(0.15), torch.exp(up_to(0.12))
    zoom = zoom * sides / (CANVAS * BOX)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [cos, shear * zoom - sin, up_to(0.1) * zoom, sin, cos, up_to(0.1) * zoom]
    grid = torch.nn.functional.affine_grid(
        torch.stack(rows, dim=1).view(count, 2, 3), [count, 1, 2 * size, 2 * size], False
    )
    moved = torch.nn.functional.grid_sample(canvases[:, None], grid, align_corners=False)
    return torch.nn.functional.avg_pool2d(moved, 2)[:, 0]


def _unlike(looks: Tensor, look: Tensor) -> Tensor:
    """For each of `looks [L, P]`, the ink that is not in both, as a share of the ink in either."""
    return (looks - look).abs().sum(1) / torch.maximum(looks, look).sum(1)

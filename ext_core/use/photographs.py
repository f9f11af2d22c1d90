"""Read photographs with all that they hold, and write them so: depth, grey, transparency, colour profile, EXIF."""

import contextlib
import functools
import importlib
import importlib.util
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms

from ext_data.decoding import ImageError, full_range, read_bytes, read_header

_DEEP_FORMATS = ('PNG', 'TIFF', 'PPM', 'JPEG2000')  # that have 16 bits, of which Pillow keeps 8 in colour
_ORIENTATION, _EXIF_IFD, _GPS_IFD, _WIDTH, _HEIGHT, _MAKER = 0x0112, 0x8769, 0x8825, 0xA002, 0xA003, 0x927C
_TIFF_EXTRA = 338  # what the samples beside colours are: 0 unknown, 1 alpha, with colours multiplied by it, 2 alpha
# What was said of the picture and the camera. The rest tells how the old file was laid out, or is its thumbnail:
# ImageDescription, Make, Model, X-, YResolution, ResolutionUnit, Software, DateTime, Artist, HostComputer, Rating,
# Copyright, XPTitle to XPSubject
_KEPT_TAGS = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x8298,
              *range(0x9C9B, 0x9CA0))  # fmt: skip
# without: those that Pillow only knows by name, and EPS, for which it runs another program
_NOT_READ = frozenset({'BUFR', 'EPS', 'GRIB', 'HDF5', 'MPEG', 'WMF'})
_HEIF = frozenset({'.heic', '.heif', '.hif'})

warnings.filterwarnings('ignore', category=UserWarning, module='PIL')  # of odd metadata; what is dropped is noted


@dataclass
class Photograph:
    """An image as a file has it, turned upright."""

    pixels: np.ndarray  # (h, w, 3) RGB or (h, w, 1) grey, uint8 or uint16
    alpha: np.ndarray | None = None  # (h, w), of the same type
    profile: bytes | None = None  # ICC colour profile
    exif: Image.Exif | None = None  # without orientation and layout
    notes: list[str] = field(default_factory=list)  # what had to be changed, each in a few words

    @property
    def deep(self) -> bool:
        """Whether it has 16 bits."""
        return self.pixels.dtype == np.uint16


# ---------------------------------------------------------------------- reading
@functools.cache
def readable() -> dict[str, str]:
    """The formats that are read, as Pillow calls them, by the ends of names: '.png': 'PNG'. HEIC with pillow-heif."""
    if importlib.util.find_spec('pillow_heif'):
        importlib.import_module('pillow_heif').register_heif_opener()
    known = Image.registered_extensions()
    return {suffix: kind for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NOT_READ}


def formats_of(path: Path) -> tuple[str, ...]:
    """What a file may be. TGA has no mark that its content begins with, so its name decides."""
    kinds = readable()
    own = kinds.get(path.suffix.lower())
    return tuple(kind for kind in dict.fromkeys(kinds.values()) if kind != 'TGA' or own == 'TGA')


def lacking(path: Path) -> str | None:
    """What has to be installed to read a file, or None."""
    suffix = path.suffix.lower()
    return 'pip install pillow-heif' if suffix in _HEIF and suffix not in readable() else None


def read_photograph(path: Path) -> Photograph:
    """Read an image.

    Raises:
        ImageError: If it is damaged, no image, an animation, or holds other values than integers of 8 and 16 bits.
    """
    content = read_bytes(path)
    formats = formats_of(path)
    if read_header(content, str(path), formats) is None:  # Pillow does not know it
        import tifffile

        reason = 'does not decode: damaged, cut short, or not an image'
        with contextlib.suppress(Exception), tifffile.TiffFile(io.BytesIO(content)) as file:  # many kinds of errors
            first: Any = file.pages[0]
            if first.dtype.kind == 'f' or first.samplesperpixel not in (1, 3, 4) or first.photometric > 6:  # LAB
                kind = f'{first.samplesperpixel} channels of {first.dtype}'
                reason = f'is a TIFF of {kind}, which is not read; convert it to RGB or grey of 8 or 16 bits'
        if package := lacking(path):
            reason = f'is HEIC, for which a package is missing: {package}'
        raise ImageError(f'{path} {reason}')
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            frames = getattr(image, 'n_frames', 1)
            if frames > 1 and image.format != 'MPO':  # cameras put previews behind a photograph as MPO
                raise ImageError(f'{path} holds {frames} frames or pages: cut them into single images first')
            image.load()
            notes: list[str] = []
            profile, tags = image.info.get('icc_profile'), image.getexif()
            exif = _kept(tags, notes)
            pixels = _deep_pixels(image, content, str(path))
            if pixels is None and image.mode == 'CMYK':
                pixels, profile = np.asarray(_rgb_of_cmyk(image, profile, notes)), None
            elif pixels is None:
                pixels = _pixels(image, str(path))
    except ImageError:
        raise
    except Exception as error:  # Pillow has many kinds for damaged files
        raise ImageError(f'{path} does not decode: {error}') from error
    turn = tags.get(_ORIENTATION)
    pixels = pixels.swapaxes(0, 1) if turn in (5, 6, 7, 8) else pixels
    pixels = pixels[::-1] if turn in (3, 4, 7, 8) else pixels
    pixels = np.ascontiguousarray(pixels[:, ::-1] if turn in (2, 3, 6, 7) else pixels)
    colours = 1 if pixels.shape[2] < 3 else 3
    alpha = pixels[..., colours] if pixels.shape[2] > colours else None
    # a profile is for images of one colour space, which stands at byte 16 (ICC.1, 7.2.6)
    fits = profile and profile[16:20] == (b'GRAY' if colours == 1 else b'RGB ')
    return Photograph(pixels[..., :colours], alpha, profile if fits else None, exif, notes)


def _deep_pixels(image: Any, content: bytes, name: str) -> np.ndarray | None:
    """(h, w, c), uint16, in the order grey/RGB, alpha; None if the image has 8 bits."""
    if image.format not in _DEEP_FORMATS:
        return None
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype == np.uint8:
        return None
    if decoded.dtype != np.uint16:
        raise ImageError(f'{name} holds {decoded.dtype} values, whose range is unknown; convert it to 8 or 16 bits')
    if image.format == 'PPM':
        decoded = full_range(decoded, content)
    if decoded.ndim == 2:
        transparent = image.info.get('transparency')  # of PNG: the grey that is not seen
        if transparent is None:
            return decoded[..., None]
        return np.dstack([decoded, np.where(decoded == transparent, 0, 65535).astype(np.uint16)])
    if decoded.shape[2] == 3:
        return decoded[..., ::-1]
    if image.mode in ('LA', 'La'):  # OpenCV repeats grey where there is alpha
        return decoded[..., 2:]
    pixels = decoded[..., [2, 1, 0, 3]]
    kind = image.tag_v2.get(_TIFF_EXTRA, (2,))[0] if image.format == 'TIFF' else 2
    if kind == 1:  # colours that are multiplied by alpha
        alpha = np.maximum(pixels[..., 3:], 1)
        pixels = np.dstack([np.minimum(np.round(pixels[..., :3] * (65535 / alpha)), 65535), pixels[..., 3:]])
    return pixels.astype(np.uint16) if kind else pixels[..., :3]  # 0: of no known meaning


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """(h, w, c), uint8."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;'):
        raise ImageError(
            f'{name} holds values of mode {image.mode}, whose range is unknown; convert it to 8 or 16 bits'
        )
    transparent = image.has_transparency_data
    if image.mode == '1':
        image = image.convert('L')
    if image.mode in ('L', 'LA', 'La'):
        pixels = np.asarray(image.convert('LA' if transparent else 'L'))
        return pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = np.asarray(image.convert('RGBA' if transparent else 'RGB'))
    if image.mode in ('P', 'PA') and (pixels[..., :1] == pixels[..., 1:3]).all():
        return pixels[..., 2:] if transparent else pixels[..., :1]  # a palette of greys
    return pixels


def _rgb_of_cmyk(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    if profile:
        try:
            srgb = ImageCms.createProfile('sRGB')
            made = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode='RGB')
            if made is not None:
                notes.append('CMYK converted to sRGB with its profile')
                return made
        except (ImageCms.PyCMSError, OSError):
            notes.append('its colour profile is damaged')
    notes.append('CMYK converted to RGB without a profile: colours differ from print')
    return image.convert('RGB')


def _kept(tags: Image.Exif, notes: list[str]) -> Image.Exif | None:
    try:
        kept = Image.Exif()
        for tag in _KEPT_TAGS:
            if tag in tags:
                kept[tag] = tags[tag]
        for folder in (_EXIF_IFD, _GPS_IFD):
            kept.get_ifd(folder).update(tags.get_ifd(folder))
        kept.get_ifd(_EXIF_IFD).pop(0xA005, None)  # a pointer into the old file
        if not len(kept) and not any(kept.get_ifd(folder) for folder in (_EXIF_IFD, _GPS_IFD)):
            return None
        kept.tobytes()
        return kept
    except Exception:  # cameras and editors write EXIF that no library reads
        notes.append('its EXIF data is damaged and was dropped')
        return None


# ---------------------------------------------------------------------- writing
def is_deep_format(suffix: str) -> bool:
    """Whether files of this kind have 16 bits."""
    return suffix in ('.png', '.tif', '.tiff')


def encode(photograph: Photograph, suffix: str, quality: int) -> bytes:
    """The content of a file.

    Args:
        photograph (Photograph): Of 16 bits only where :func:`is_deep_format`.
        suffix (str): '.png', '.jpg', '.jpeg', '.webp', '.tif' or '.tiff'.
        quality (int): Of JPEG and WebP, 1 to 100.

    Raises:
        ImageError: If the format cannot hold it.
    """
    pixels, profile = photograph.pixels, photograph.profile
    if photograph.alpha is not None:
        if suffix in ('.jpg', '.jpeg'):
            raise ImageError('JPEG has no transparency; use --ext png or webp')
        pixels = np.dstack([pixels, photograph.alpha])
    if photograph.deep and pixels.shape[2] == 2:  # OpenCV does not write it, and hardly anything reads it
        pixels, profile = pixels[..., [0, 0, 0, 1]], None  # of grey
    exif = _exif_bytes(photograph)
    if suffix in ('.tif', '.tiff'):
        import tifffile

        tifffile.imwrite(
            target := io.BytesIO(),
            pixels[..., 0] if pixels.shape[2] == 1 else pixels,
            photometric='minisblack' if pixels.shape[2] < 3 else 'rgb',
            planarconfig='contig' if pixels.shape[2] > 1 else None,
            extrasamples=['unassalpha'] if pixels.shape[2] in (2, 4) else None,
            compression='deflate',
            iccprofile=profile,
            metadata=None,
        )
        return target.getvalue()
    if photograph.deep:  # PNG of 16 bits, which Pillow writes in grey only
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
        chunks = {cv2.IMAGE_METADATA_ICCP: profile, cv2.IMAGE_METADATA_EXIF: exif.removeprefix(b'Exif\0\0')}
        held = {kind: np.frombuffer(chunk, np.uint8) for kind, chunk in chunks.items() if chunk}
        _, content = cv2.imencodeWithMetadata('.png', pixels[..., order], list(held), list(held.values()))
        return content.tobytes()
    if suffix == '.webp' and pixels.shape[2] < 3:  # which has colour only
        profile = None
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
    extras = {name: value for name, value in (('icc_profile', profile), ('exif', exif)) if value}
    target = io.BytesIO()
    try:  # each format takes what it knows
        image.save(target, readable()[suffix], quality=quality, subsampling=0, compress_level=4, **extras)
    except (OSError, ValueError) as error:
        raise ImageError(
            f'{image.width} x {image.height} cannot be written as {suffix}: {error}; use --ext png'
        ) from error
    return target.getvalue()


def _exif_bytes(photograph: Photograph) -> bytes:
    """EXIF of the new image: upright, with the new size."""
    if photograph.exif is None:
        return b''
    exif = photograph.exif
    exif[_ORIENTATION] = 1
    camera = exif.get_ifd(_EXIF_IFD)
    for tag, value in ((_WIDTH, photograph.pixels.shape[1]), (_HEIGHT, photograph.pixels.shape[0])):
        if tag in camera:
            camera[tag] = value
    content = exif.tobytes()
    if len(content) > 65533:  # what a segment of JPEG holds; it is the makers' notes that are so long
        camera.pop(_MAKER, None)
        photograph.notes.append("the camera's own notes were dropped: too long")
        content = exif.tobytes()
    return content if len(content) <= 65533 else b''

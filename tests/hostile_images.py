"""Image files of every kind that may lie in a folder, and what each of them has to mean to every reader."""

import io
import struct
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import tifffile
from PIL import Image

SIDE = 32
RED = (200, 40, 20)  # of the left half, RGB; the right half is its complement
EXIF_TURN = 6  # a quarter turn


@dataclass(frozen=True)
class Hostile:
    """A file, and either the size it decodes to (width, height) or words of the refusal; ``seen``: by its header."""

    name: str
    content: bytes
    size: tuple[int, int] | None = None
    refusal: str = ''
    seen: bool = False


def picture(width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """uint8 RGB, two halves with a soft border."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = RED
    image[:, width // 2 :] = 255 - image[:, width // 2 :]
    return cv2.GaussianBlur(image, (0, 0), 2)


def encoded(kind: str, mode: str = 'RGB', image: np.ndarray | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture() if image is None else image).convert(mode, palette=Image.Palette.ADAPTIVE).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def by_opencv(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def by_tifffile(image: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **options)
    return buffer.getvalue()


def turned() -> dict:
    exif = Image.Exif()
    exif[0x0112] = EXIF_TURN
    return {'exif': exif}


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = ((b'IHDR', header), (b'IDAT', zlib.compress(bytes(1000))), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(kind, data) for kind, data in parts)


def all_files() -> list[Hostile]:
    png, jpeg, gif = encoded('PNG'), encoded('JPEG'), encoded('GIF')
    bgr, whole = picture()[..., ::-1], (SIDE, SIDE)
    wide = picture(SIDE, SIDE // 2)
    frames = {'save_all': True, 'append_images': [Image.new('RGB', whole)]}
    thumbnail = jpeg[:2] + b'\xff\xe2' + struct.pack('>H', 2 + len(jpeg)) + jpeg + jpeg[2:]
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return [
        Hostile('colour.png', png, whole),
        Hostile('UPPER.PNG', png, whole),
        Hostile('with space.png', png, whole),
        Hostile('ünïcode.png', png, whole),
        Hostile('new\nline.png', png, whole),
        Hostile('jpeg_named.png', jpeg, whole),
        Hostile('colour.jpg', jpeg, whole),
        Hostile('thumbnail.jpg', thumbnail, whole),
        Hostile('grey.png', encoded('PNG', 'L'), whole),
        Hostile('bits.png', encoded('PNG', '1'), whole),
        Hostile('grey_alpha.png', encoded('PNG', 'LA'), whole),
        Hostile('alpha.png', encoded('PNG', 'RGBA'), whole),
        Hostile('palette.png', encoded('PNG', 'P'), whole),
        Hostile('cmyk.jpg', encoded('JPEG', 'CMYK'), whole),
        Hostile('cmyk.tif', encoded('TIFF', 'CMYK'), whole),
        Hostile('deep.png', by_opencv('.png', bgr.astype(np.uint16) * 257), whole),
        Hostile('deep_grey.png', by_opencv('.png', bgr[..., 1].astype(np.uint16) * 257), whole),
        Hostile('deep.tiff', by_opencv('.tiff', bgr.astype(np.uint16) * 257), whole),
        Hostile('exif.jpg', encoded('JPEG', image=wide, **turned()), (SIDE // 2, SIDE)),
        Hostile('exif.png', encoded('PNG', image=wide, **turned()), (SIDE // 2, SIDE)),
        Hostile('odd.png', encoded('PNG', image=picture(33, 17)), (33, 17)),
        Hostile('one.png', encoded('PNG', image=picture(1, 1)), (1, 1)),
        Hostile('still.webp', encoded('WEBP', lossless=True), whole),
        Hostile('moving.png', encoded('PNG', **frames), whole),
        Hostile('moving.gif', encoded('GIF', **frames), whole),
        Hostile('float.tiff', by_opencv('.tiff', bgr.astype(np.float32) / 255), refusal='float32'),
        Hostile('float_grey.tiff', by_opencv('.tiff', bgr[..., 0].astype(np.float32) / 255), refusal='float32'),
        Hostile('radiance.hdr', by_opencv('.hdr', bgr.astype(np.float32) / 255), refusal='float32'),
        Hostile('planar.tif', by_tifffile(np.moveaxis(picture(), 2, 0), photometric='rgb'), whole),
        # of which OpenCV makes other pixels without a word
        Hostile(
            'deep_planar.tif',
            by_tifffile(np.moveaxis(picture().astype(np.uint16) * 257, 2, 0), photometric='rgb'),
            refusal='stored apart',
            seen=True,
        ),
        Hostile(
            'deep_inverted.tif',
            by_tifffile(picture()[..., 0].astype(np.uint16) * 257, photometric='miniswhite'),
            refusal='0 is white',
            seen=True,
        ),
        Hostile('empty.png', b'', refusal='empty (0 bytes)', seen=True),
        Hostile('text.png', b'not an image ' * 50, refusal='not an image', seen=True),
        Hostile('bomb.png', png_claiming(60_000, 60_000), refusal='decompression bomb', seen=True),
        Hostile('small_bomb.png', png_claiming(20_000, 20_000), refusal='decompression bomb', seen=True),
        Hostile('lying.png', png_claiming(300, 300), refusal='does not decode'),
        Hostile('half.png', png[: len(png) // 2], refusal='does not decode'),
        Hostile('no_end.png', png[:-12], refusal='does not decode'),
        Hostile('flipped.png', bytes(flipped), refusal='does not decode'),
        Hostile('half.jpg', jpeg[: len(jpeg) * 3 // 4], refusal='cut short'),
        Hostile('no_end.jpg', jpeg[:-2], refusal='cut short'),
        Hostile('half_thumbnail.jpg', thumbnail[:-50], refusal='cut short'),
        Hostile('half.gif', gif[: len(gif) // 2], refusal='does not decode'),
        Hostile('half.bmp', encoded('BMP')[:900], refusal='does not decode'),
        Hostile('half.webp', encoded('WEBP')[:40], refusal='does not decode'),
        Hostile('half.tiff', by_opencv('.tiff', bgr)[:500], refusal='does not decode'),
    ]


FILES = all_files()
GOOD, BAD = [file for file in FILES if file.size], [file for file in FILES if not file.size]

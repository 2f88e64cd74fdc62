"""Pictures with all that a camera writes beside the pixels, and their way through."""

import io

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from mtujax.video.image_files import read_metadata, with_metadata
from mtujax.video.image_folder import FolderReader, FolderWriter

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:tiff="t"><a tiff:Orientation="6"/></x:xmpmeta>'
SHAPE = 6, 10  # as stored


def exif(orientation=6):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Make] = "camera"
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.ExifImageWidth], inner[ExifTags.Base.ExifImageHeight] = 10, 6
    return tags


def picture(rng, channels=3, dtype=np.uint8):
    shape = (*SHAPE, channels) if channels > 1 else SHAPE
    return rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def store(path, image, orientation=6, **more):
    more = {"icc_profile": PROFILE, "exif": exif(orientation), "dpi": (300, 300)} | more
    if path.suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        info.add_text("Author", "somebody")
        more["pnginfo"] = info
    else:
        more |= {"xmp": XMP, "comment": b"by somebody", "quality": 100}
    Image.fromarray(image).save(path, **more)


def carried(folder):
    """A folder read and written again; gives the frames that were read."""
    out = folder.with_name("out")
    out.mkdir()
    with FolderReader(folder) as reader, FolderWriter(out) as writer:
        frames = list(reader.frames())
        for frame, kind in frames:
            writer.write(frame, kind)
    return out, [frame for frame, _ in frames]


def store_deep(path, image):
    """Writes a PNG of 16 bits, which Pillow does not."""
    _, data = cv2.imencode(".png", image)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(
        buffer, "png", icc_profile=PROFILE, exif=exif(1)
    )
    extra = read_metadata(buffer.getvalue())
    path.write_bytes(with_metadata(data.tobytes(), extra, grey=False))

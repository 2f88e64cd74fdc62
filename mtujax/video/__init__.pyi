from .image_folder import FolderReader as FolderReader, FolderWriter as FolderWriter
from .info import VideoInfo as VideoInfo
from .inputs import (
    RawReader as RawReader,
    RawWriter as RawWriter,
    open_reader as open_reader,
    parse_size as parse_size,
)
from .reader import VideoReader as VideoReader
from .scene_cuts import shots as shots
from .writer import VideoWriter as VideoWriter

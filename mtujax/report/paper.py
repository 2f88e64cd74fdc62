"""The numbers of the paper's Tables 1 to 4, as printed.

Son et al., "Real-Time Video Deblurring via Lightweight Motion Compensation" (PG 2022).
All frames are 1280x720; the times are from one NVIDIA GeForce RTX 3090 with CUDA
synchronised before and after the network (Sec. 4.2). Nothing here is measured by
mtujax.
"""

import dataclasses

SOURCE = (
    "Son et al., Real-Time Video Deblurring via Lightweight Motion Compensation, "
    "Pacific Graphics 2022"
)
"""Source of every number in this file."""


HARDWARE = "NVIDIA GeForce RTX 3090"
"""Hardware on which the paper's times were measured."""


@dataclasses.dataclass(frozen=True)
class Reported:
    """Numbers that the paper reports of one method or variant."""

    key: str  # the preset, or the name of a file in `configs/`
    label: str  # in tables
    citation: str  # the paper's reference, "" for its own networks
    family: str  # "image", "video", or "mtu" for its own
    psnr: float  # dB
    ssim: float  # of the restored frames
    parameters: float | None = None  # millions
    milliseconds: float | None = None  # per frame of 1280x720
    motion_psnr: float | None = None  # dB of the aligned sharp frames
    motion_ssim: float | None = None  # likewise
    parts: tuple[bool, ...] = ()  # of an ablation, which of its table's it has


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One table of the paper."""

    number: int  # in the paper
    title: str  # what it compares
    dataset: str  # "dvd" or "gopro"
    rows: tuple[Reported, ...]  # in the paper's order
    parts: tuple[str, ...] = ()  # of an ablation, which its variants have or lack
    stated: bool = True  # whether the paper names the dataset
    protocol: str = "rt-paper"  # of the numbers


def _ablation(key, parts, scores, motion):
    own = dict(motion_psnr=motion[0], motion_ssim=motion[1], parts=parts)
    return Reported(key, key, "", "mtu", *scores, **own)


TABLES = {
    1: PaperTable(
        number=1,
        title="Feature incompatibility of deblurring and motion compensation",
        dataset="dvd",
        stated=False,
        parts=("Residual learning", "Motion module + L_motion"),
        rows=(
            _ablation("table1_row1", (0, 0), (29.42, 0.909), (26.21, 0.842)),
            _ablation("table1_row2", (1, 0), (29.97, 0.917), (25.09, 0.804)),
            _ablation("table1_row3", (0, 1), (30.07, 0.920), (27.26, 0.863)),
            _ablation("table1_row4", (1, 1), (29.84, 0.915), (27.24, 0.862)),
        ),
    ),
    2: PaperTable(
        number=2,
        title="Ablation study for the motion compensation part",
        dataset="dvd",
        stated=False,
        parts=("L_deblur", "Motion module", "L_motion", "Structure injection"),
        rows=(
            _ablation("table1_row2", (1, 0, 0, 0), (29.97, 0.917), (25.09, 0.804)),
            _ablation("table2_row2", (1, 1, 0, 0), (30.18, 0.921), (25.73, 0.831)),
            _ablation("table1_row4", (1, 1, 1, 0), (29.84, 0.915), (27.24, 0.862)),
            _ablation("table2_row4", (1, 1, 1, 1), (30.30, 0.923), (27.25, 0.864)),
        ),
    ),
    3: PaperTable(
        number=3,
        title="Quantitative evaluation on the DVD dataset",
        dataset="dvd",
        rows=(
            Reported("dbl", "DBL", "NKL17", "image", 29.56, 0.913, 75.92, 1790),
            Reported("srn", "SRN", "TGS*18", "image", 30.20, 0.922, 3.76, 560),
            Reported("dvd", "DVD", "SDW*17", "video", 30.05, 0.920, 15.31, 581),
            Reported("ifi", "IFI", "NSL19", "video", 30.75, 0.930, 1.67, 82),
            Reported("est", "EST", "ZYZB20", "video", 30.97, 0.931, 2.23, 116),
            Reported("stf", "STF", "ZZP*19", "video", 31.21, 0.935, 5.37, 216),
            Reported("pvd", "PVD", "SLL*21", "video", 31.89, 0.944, 10.51, 231),
            Reported("cvd", "CVD", "PBT20", "video", 32.15, 0.949, 16.19, 2250),
            Reported("mtu1", "MTU1", "", "mtu", 30.21, 0.921, 0.54, 32),
            Reported("mtu2", "MTU2", "", "mtu", 31.00, 0.933, 1.04, 54),
            Reported("mtu4", "MTU4", "", "mtu", 31.41, 0.937, 2.04, 84),
            Reported("mtu10", "MTU10", "", "mtu", 31.90, 0.943, 5.03, 178),
            Reported("mtu2_hp", "MTU2-hp", "", "mtu", 30.99, 0.932, 1.04, 33),
            Reported("mtu10_l", "MTU10-L", "", "mtu", 32.27, 0.947, 13.80, 421),
        ),
    ),
    4: PaperTable(
        number=4,
        title="Quantitative evaluation on the GoPro dataset",
        dataset="gopro",
        rows=(
            Reported("dbl", "DBL", "NKL17", "image", 28.74, 0.912, 75.92, 1788),
            Reported("ifi", "IFI", "NSL19", "video", 29.80, 0.926, 1.67, 83),
            Reported("est", "EST", "ZYZB20", "video", 29.83, 0.924, 2.23, 113),
            Reported("pvd", "PVD", "SLL*21", "video", 31.11, 0.943, 10.51, 238),
            Reported("pvd_l", "PVD-L", "SLL*21", "video", 31.55, 0.948, 23.36, 585),
            Reported("cvd", "CVD", "PBT20", "video", 31.59, 0.952, 16.19, 2241),
            Reported("mtu1", "MTU1", "", "mtu", 29.00, 0.915, 0.54, 33),
            Reported("mtu2", "MTU2", "", "mtu", 29.91, 0.928, 1.04, 53),
            Reported("mtu4", "MTU4", "", "mtu", 30.34, 0.933, 2.04, 86),
            Reported("mtu10", "MTU10", "", "mtu", 31.14, 0.942, 5.03, 171),
            Reported("mtu2_hp", "MTU2-hp", "", "mtu", 29.90, 0.928, 1.04, 33),
            Reported("mtu10_l", "MTU10-L", "", "mtu", 31.92, 0.950, 13.80, 416),
        ),
    ),
}
"""The tables by their number."""


def table_of(dataset: str) -> PaperTable | None:
    """Gives Table 3 for "dvd", Table 4 for "gopro", None for any other dataset."""
    return {"dvd": TABLES[3], "gopro": TABLES[4]}.get(dataset)

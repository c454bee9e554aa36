"""Qualcomm chips with an HTP: the number that QNN knows them by, and the architecture of their HTP.

Numbers are those of the QAIRT SDK's table of supported devices. The architectures are what the compiler in
onnxruntime-qnn 2.7 writes into a context for each number: it believes the chip where a chip and another architecture
are stated, and takes any unknown text for a v68, so both have to be checked before it is called.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ARCHITECTURES", "SOCS", "Soc"]

ARCHITECTURES = (68, 69, 73, 75, 79, 81)
"""HTP architectures that the provider option htp_arch takes; it ignores any other."""


class Soc(NamedTuple):
    """A chip: QNN's number of it, and the architecture of its HTP."""

    number: int
    arch: int


SOCS: dict[str, Soc] = {
    "SM8350": Soc(30, 68),  # Snapdragon 888
    "SM7325": Soc(35, 68),  # Snapdragon 778G
    "SC8280X": Soc(37, 68),  # Snapdragon 8cx Gen 3
    "SA8295": Soc(39, 68),
    "QCS6490": Soc(93, 68),
    "SM8450": Soc(36, 69),  # Snapdragon 8 Gen 1
    "SXR2230P": Soc(53, 69),
    "SM8550": Soc(43, 73),  # Snapdragon 8 Gen 2
    "SA8255": Soc(52, 73),
    "SC8380XP": Soc(60, 73),  # Snapdragon X
    "SM7550": Soc(64, 73),
    "QCS8550": Soc(66, 73),
    "SM8635": Soc(68, 73),
    "SM7675": Soc(70, 73),
    "SM7635": Soc(73, 73),
    "QCS9100": Soc(77, 73),
    "SM8735": Soc(85, 73),
    "SM8650": Soc(57, 75),  # Snapdragon 8 Gen 3
    "QCS8300": Soc(82, 75),
    "QCS8625": Soc(90, 75),
    "SM8750": Soc(69, 79),  # Snapdragon 8 Elite
    "SXR2330P": Soc(75, 79),
    "SM8850": Soc(87, 81),  # Snapdragon 8 Elite Gen 5
    "SC8480XP": Soc(88, 81),
    "QCS8845": Soc(109, 81),
}
"""Chips by name."""

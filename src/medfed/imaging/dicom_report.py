"""Findings as DICOM structured reports (TID 1500): one for each source file, each box a closed line on its frame.

The report refers to the source file by its identifiers and belongs to the same patient and study, so it is as
confidential as the source. A picture that came from no DICOM file gets one, a secondary capture, beside its report.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from medfed.errors import InvalidInput, Unavailable
from medfed.identifiers import sha256
from medfed.imaging.annotation import Finding, Picture
from medfed.imaging.dicom_file import is_dicom, open_dicom, pydicom_module, quiet
from medfed.imaging.image_set import ImageSet, read_origins
from medfed.imaging.importing import split_frame
from medfed.input_file import read_input

__all__ = ["Reports", "write_reports"]

_LONGEST_FILE: Final = 1 << 30
_SCHEME: Final = "99MEDFED"
_WANTED: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
_ALSO: Final = ("AccessionNumber", "ReferringPhysicianName")


class Reports(NamedTuple):
    """What was written."""

    reports: int
    captures: int
    """Pictures that had no DICOM file."""
    findings: int
    without: int
    """Pictures without findings, which have no report."""


def write_reports(
    images: ImageSet, pictures: Path, output: Path, observer: str, new_uid: Callable[[], str] | None = None
) -> Reports:
    """Write a report for every source of the set that has findings into the empty folder `output`.

    Args:
        images: whose findings are reported.
        pictures: the folder that the set was imported from.
        output: made, and empty.
        observer: the person who answers for the findings; empty where only a program does.
        new_uid: makes an identifier; by default a random one.

    Raises:
        InvalidInput: a source is gone or is no longer what was imported; or the folder is not empty. Unavailable:
            highdicom is not installed, or a disk failed.
    """
    highdicom = _highdicom()
    uid = new_uid or highdicom.UID
    if output.exists() and any(output.iterdir()):
        raise InvalidInput(f"{output.name}: the folder is not empty")
    origins = read_origins(images.folder)
    by_source: dict[str, list[tuple[int, Picture]]] = defaultdict(list)
    for picture in images.pictures:
        name, frame = split_frame(origins.get(picture.file, ""))
        if picture.findings:
            by_source[name].append((max(frame, 1), picture))
    output.mkdir(mode=0o700, parents=True, exist_ok=True)
    captures = findings = 0
    for number, (name, entries) in enumerate(sorted(by_source.items()), start=1):
        source = _source(pictures, name)
        if source is None:
            source = _capture(images, entries[0][1], uid)
            _write(source, output / f"{number:06}-picture.dcm")
            captures += 1
        listed = [(frame, one) for frame, picture in entries for one in picture.findings]
        report = _report(source, listed, observer, uid)
        _write(report, output / f"{number:06}-report.dcm")
        findings += len(listed)
    without = sum(1 for picture in images.pictures if not picture.findings)
    return Reports(len(by_source), captures, findings, without)


def _highdicom() -> Any:
    pydicom_module()
    try:
        import highdicom
        from highdicom import sr as _sr
    except ImportError:
        raise Unavailable("DICOM reports need highdicom: install medfed[imaging]") from None
    highdicom.sr = _sr
    return highdicom


def _source(pictures: Path, name: str) -> Any:
    """The source data set, or None where the source is another picture file."""
    path = (pictures / name).resolve()
    if not name or not path.is_relative_to(pictures.resolve()) or not path.is_file():
        raise InvalidInput("a picture's source is not in the folder that the set was imported from")
    data = read_input(path, _LONGEST_FILE, "a picture's source")
    return open_dicom(data).dataset if is_dicom(data) else None


def _capture(images: ImageSet, picture: Picture, uid: Callable[[], str]) -> Any:
    """A secondary capture of a picture that no DICOM file exists of, of an unnamed patient."""
    pydicom = pydicom_module()
    values = images.values(picture)
    dataset = pydicom.Dataset()
    meta: Any = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = str(uid())
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = str(uid()), str(uid())
    dataset.file_meta = meta
    for name in (*_WANTED, *_ALSO, "SeriesNumber", "InstanceNumber", "PatientOrientation"):
        setattr(dataset, name, None)
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    bits = values.dtype.itemsize * 8
    colour = values.ndim == 3
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    data = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()
    dataset.add_new(0x7FE00010, "OW" if bits > 8 else "OB", data + b"\0" * (len(data) % 2))
    return dataset


def _report(source: Any, findings: Sequence[tuple[int, Finding]], observer: str, uid: Callable[[], str]) -> Any:
    highdicom = _highdicom()
    sr = highdicom.sr
    with quiet():
        try:
            evidence = _completed(source)
            groups = [_group(sr, evidence, frame, one, number, uid) for number, (frame, one) in enumerate(findings, 1)]
            people = [] if not observer else [_context(sr, sr.PersonObserverIdentifyingAttributes(observer), "121006")]
            device = sr.DeviceObserverIdentifyingAttributes(uid=str(uid()), name="MedFed")
            machine = _context(sr, device, "121007")
            context = sr.ObservationContext(people[0] if people else machine, machine if people else None)
            report = sr.MeasurementReport(
                observation_context=context,
                procedure_reported=sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
                imaging_measurements=groups,
                title=sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
            )
            return sr.ComprehensiveSR(
                evidence=[evidence],
                content=report,
                series_instance_uid=str(uid()),
                series_number=1,
                sop_instance_uid=str(uid()),
                instance_number=1,
                manufacturer="MedFed",
                is_complete=True,
                is_final=False,
                is_verified=False,
            )
        except Exception as error:  # noqa: BLE001 - the library raises whatever a source's values make it
            raise InvalidInput(f"a report cannot be made of its source ({type(error).__name__})") from None


def _context(sr: Any, attributes: Any, kind: str) -> Any:
    words = {"121006": "Person", "121007": "Device"}[kind]
    return sr.ObserverContext(sr.CodedConcept(kind, "DCM", words), attributes)


def _group(sr: Any, evidence: Any, frame: int, finding: Finding, number: int, uid: Callable[[], str]) -> Any:
    box = finding.box
    corners = ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom))
    frames = [frame] if int(evidence.get("NumberOfFrames") or 1) > 1 else None
    region = sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array([*corners, corners[0]], dtype=np.float64),
        source_image=sr.SourceImageForRegion(evidence.SOPClassUID, evidence.SOPInstanceUID, frames),
    )
    # A class of the hospitals' own: its code is made from its name, so the same class has the same code everywhere.
    code = sha256(finding.label.encode()).hex()[:16]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=str(uid()), identifier=f"finding {number}"),
        referenced_region=region,
        finding_type=sr.CodedConcept(code, _SCHEME, finding.label[:64]),
    )


def _completed(source: Any) -> Any:
    """The source with the elements that a report copies, empty where it has none."""
    for name in (*_WANTED, *_ALSO):
        if name not in source:
            setattr(source, name, None)
    if not source.get("StudyInstanceUID") or not source.get("SOPInstanceUID") or not source.get("SeriesInstanceUID"):
        raise InvalidInput("the source lacks the identifiers that a report refers to")
    return source


def _write(dataset: Any, path: Path) -> None:
    out = io.BytesIO()
    with quiet():
        dataset.save_as(out, enforce_file_format=True)
    try:
        path.write_bytes(out.getvalue())
        path.chmod(0o600)
    except OSError as error:
        raise Unavailable(f"a report cannot be written ({type(error).__name__})") from None

"""Which elements of a DICOM picture survive de-identification. Whatever is not named here is gone.

A list of what is kept, where PS3.15 table E.1-1 lists what goes: an element that nobody thought of is then lost, not
leaked. Nothing here is free text. A term is kept only if it is one of those listed, because sixteen capital letters are
enough for a name; a number only as the number that it is.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DATES", "EMPTY", "MAPPED_UIDS", "NUMBERS", "SEQUENCES", "TERMS"]

_NUMBERS: Final = (
    "AcquisitionNumber DimensionIndexValues EchoTime EchoTrainLength FlipAngle ImageOrientationPatient "
    "ImagePositionPatient ImagerPixelSpacing InStackPositionNumber InstanceNumber InversionTime KVP LUTDescriptor "
    "MagneticFieldStrength NominalScannedPixelSpacing NumberOfFrames PixelAspectRatio PixelIntensityRelationshipSign "
    "PixelPaddingRangeLimit PixelPaddingValue PixelSpacing RepetitionTime RescaleIntercept RescaleSlope SeriesNumber "
    "SliceLocation SliceThickness SpacingBetweenSlices WindowCenter WindowWidth"
)
NUMBERS: Final = tuple(_NUMBERS.split())
"""Kept as numbers; counters only below a million, so that they are no record numbers."""

_BODY_PARTS: Final = (
    "ABDOMEN ANKLE ARM BLADDER BRAIN BREAST CALCANEUS CARDIAC CERVIX CHEST CLAVICLE COCCYX COLON CSPINE ELBOW EYE "
    "FEMUR FINGER FOOT HAND HEAD HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER LSPINE LUNG MAXILLA NECK ORBIT PANCREAS "
    "PELVIS PROSTATE RIB SACRUM SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM THIGH THUMB TOE TSPINE UTERUS WRIST"
)
_MODALITIES: Final = (
    "BDUS BI BMD CR CT DG DX EPS ES GM HC IO IVOCT IVUS LS MG MR NM OAM OCT OP OPM OPT OPV OT PT PX RF RG RTIMAGE SM "
    "TG US VA XA XC"
)
TERMS: Final = {
    name: frozenset(values.split())
    for name, values in {
        "BodyPartExamined": _BODY_PARTS,
        "ConversionType": "DV DI DF WSD SD SI DRW SYN",
        "ImageLaterality": "R L B U",
        "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER OTHER VOLUME RESAMPLED NONE",
        "Laterality": "R L",
        "LossyImageCompression": "00 01",
        "Modality": _MODALITIES,
        "ModalityLUTType": "HU US OD HU_MOD",
        "PatientOrientation": "A P R L H F AR AL AH AF PR PL PH PF RA RP RH RF LA LP LH LF HA HP HR HL FA FP FR FL",
        "PatientPosition": "HFP HFS HFDR HFDL FFDR FFDL FFP FFS",
        "PixelIntensityRelationship": "LIN LOG DISP",
        "PresentationIntentType": "PROCESSING PRESENTATION",
        "PresentationLUTShape": "IDENTITY INVERSE LINEAR",
        "RescaleType": "HU US OD HU_MOD UNSPECIFIED",
        "ScanningSequence": "SE IR GR EP RM",
        "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
        "ViewPosition": "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM XCCL",
    }.items()
}
"""Kept where every value is one of these."""

MAPPED_UIDS: Final = ("FrameOfReferenceUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""Replaced, the same by the same."""

DATES: Final = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
"""Empty, or moved by a number of days that is each patient's own."""

EMPTY: Final = (
    "AccessionNumber",
    "Manufacturer",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyID",
    "StudyTime",
)
"""There without a value, because a picture's modules want them to be there."""

_SEQUENCES: Final = (
    "FrameContentSequence FrameVOILUTSequence ModalityLUTSequence PerFrameFunctionalGroupsSequence "
    "PixelMeasuresSequence PixelValueTransformationSequence PlaneOrientationSequence PlanePositionSequence "
    "SharedFunctionalGroupsSequence VOILUTSequence"
)
SEQUENCES: Final = tuple(_SEQUENCES.split())
"""Entered, and the same rules hold within."""

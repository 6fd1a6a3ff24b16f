"""The one id that is no class."""

#: Ignored (training) or unknown (prediction) inside the program. Files use 255, 65535 or 459;
#: mappers and writers translate.
IGNORE_LABEL = -1

"""The command line of One Beam: `beam run`, `doctor`, `migrate`, `stop`, `version`."""

VERSION = "0.1.0"

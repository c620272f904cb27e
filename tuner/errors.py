"""The errors of this package.

TunerError
├── UsageError          what was asked cannot be done: change the command (exit status 2)
│   └── ContradictionError  a study has this name and another spec: choose another name
├── NotAllowedError     the study names code that this process was not started with
├── ServiceError        a `tuner serve` elsewhere refuses, or does not answer
├── StudyNotFoundError  no such study in this storage
├── NoResultError       the study has no finished trial to speak of yet
├── AnswerError         an exported answer cannot be read from there
├── PicturesError       PNG and SVG cannot be made here; all else can
├── StudyFailedError    trial after trial fails: mend the objective
└── WorkersFailedError  trainers die, or nobody can start them, although the budget is not spent
"""


class TunerError(Exception):
    """Base of everything this package raises on purpose; messages never hold a password."""


class UsageError(TunerError):
    """The command's options contradict each other, the study, or good sense."""


class ContradictionError(UsageError):
    """The study that is there was created with another spec."""


class NotAllowedError(TunerError):
    """A function objective whose module was not allowed when this process was started."""


class ServiceError(TunerError):
    """The service that `--server` names has refused, or has not answered."""


class StudyNotFoundError(TunerError):
    """The storage holds no study of this name, or one that another program made."""


class NoResultError(TunerError):
    """There is no complete trial to select from."""


class AnswerError(TunerError):
    """What was read from a file, a URL or a storage is no answer, or not that of this study."""


class PicturesError(TunerError):
    """There is no browser to draw PNG and SVG, or nothing to drive it, or it has failed."""


class StudyFailedError(TunerError):
    """Trial after trial has failed, of the study or of this worker alone."""


class WorkersFailedError(TunerError):
    """Trainers die again and again, or an engine cannot start any."""

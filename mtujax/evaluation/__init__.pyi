from .api import evaluate as evaluate
from .results import (
    Evaluation as Evaluation,
    Method as Method,
    read_results as read_results,
    write_results as write_results,
)
from .subject import open_subject as open_subject
from .tables import as_text as as_text

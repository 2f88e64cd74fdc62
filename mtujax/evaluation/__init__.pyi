from .api import evaluate as evaluate
from .method import open_subject as open_subject
from .results import (
    Evaluation as Evaluation,
)
from .results import (
    Method as Method,
)
from .results import (
    read_results as read_results,
)
from .results import (
    write_results as write_results,
)
from .tables import as_text as as_text

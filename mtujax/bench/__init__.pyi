from .timing import Network as Network
from .timing import measure as measure
from .timing import statistics as statistics

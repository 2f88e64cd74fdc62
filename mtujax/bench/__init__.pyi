from .timing import Network as Network, measure as measure, statistics as statistics

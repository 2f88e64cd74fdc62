from .datasets import FetchedDataset as FetchedDataset
from .datasets import fetch_dataset as fetch_dataset
from .sources import DATASETS as DATASETS
from .sources import WEIGHTS as WEIGHTS
from .sources import Source as Source
from .weights import FetchedWeights as FetchedWeights
from .weights import fetch_weights as fetch_weights

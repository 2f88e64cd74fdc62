from .datasets import FetchedDataset as FetchedDataset, fetch_dataset as fetch_dataset
from .sources import DATASETS as DATASETS, WEIGHTS as WEIGHTS, Source as Source
from .weights import FetchedWeights as FetchedWeights, fetch_weights as fetch_weights

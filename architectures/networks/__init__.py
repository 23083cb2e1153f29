"""Networks described once, and built in each framework from its own layers.

`description.py` has the descriptions; the file with a framework's id, such as `pytorch.py`, builds
them there. What it has to offer is

    FeedForward, WindowEncoder, BiLSTMEncoder, TransformerEncoder: functions (description, nO, nI)
        -> what the framework's wrapper wraps.
    LAYOUT: {(kind of layer, Thinc's name of a parameter): (the framework's name, whether it is
        stored transposed)}; see `description.Parameter`.
    GATES: The order of an LSTM's gates.
    ARRANGEMENTS: {name of a network: one of the functions in `arrangement.py`}.

A network is called with positional tensors alone: X, then what its arrangement's docstring says
comes after X, then the dropout masks, one for each of `description.dropout_widths`, or none. X and
the masks are arranged alike, and zero where there is no row. They are float32, and so are the
parameters, whatever the framework's default dtype is. It returns one tensor of X's shape, but nO
wide; what is there in places without rows is never read. Its gradient is zero there, and that of X
is asked for where there are rows.

A framework that compiles a network for each shape gives the arrangement a `fit` that returns few
shapes, as `jax.py` does:

    ARRANGEMENTS = {"FeedForward": partial(rows, fit=fit), ...}
"""

from .build import build_network
from .description import BiLSTMEncoder, FeedForward, TransformerEncoder, WindowEncoder
from .parameters import convert_network, get_parameters, set_parameters
from .resize import resize_network

__all__ = [
    "BiLSTMEncoder",
    "FeedForward",
    "TransformerEncoder",
    "WindowEncoder",
    "build_network",
    "convert_network",
    "get_parameters",
    "resize_network",
    "set_parameters",
]

"""What Keras's layers keep beside their variables: constants that follow from these, vocabularies,
bins."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import keras
import numpy

# Names of layers are paths of attributes, in which this is not.
MARK = ":adapted"

# What `StringLookup` and `IntegerLookup` inherit from, for which Keras has no public name.
_Lookup = keras.layers.IntegerLookup.__base__

Layers = Mapping[str, keras.Layer]


def renew(layers: Layers) -> bool:
    """Have layers compute anew what they derive from their variables, as `Normalization` does with
    its mean, since these were assigned. Whether there are any."""
    found = False
    for path, layer in layers.items():
        if _loads_itself(layer):
            layer.load_own_variables(_own_store(path, layer))
        elif hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()
        else:
            continue
        found = True
    return found


def _loads_itself(layer: keras.Layer) -> bool:
    """Whether somebody's own layer says by itself how it is loaded. Keras's own layers say it for
    formats of their files."""
    function = type(layer).load_own_variables
    return not function.__module__.startswith("keras.")


def _own_store(path: str, layer: keras.Layer) -> Dict[str, Any]:
    """What such a layer saves. Raises ValueError if there is more in it than its variables."""
    store: Dict[str, Any] = {}
    layer.save_own_variables(store)
    store = {key: keras.ops.convert_to_numpy(value) for key, value in store.items()}
    own = [keras.ops.convert_to_numpy(variable) for variable in layer.weights]
    more = [k for k, value in store.items() if not any(numpy.array_equal(value, v) for v in own)]
    if more:
        raise ValueError(
            f"The layer {path or type(layer).__name__!r} saves {', '.join(map(repr, more))} beside "
            "its variables, by a save_own_variables() of its own, and only variables are saved and "
            "copied here. Keep it in a variable: add_weight(..., trainable=False)."
        )
    return store


def adapted(layers: Layers) -> Dict[str, Tuple[List[Any], Any]]:
    """The vocabularies (with the weights of "tf_idf") and bins that layers have found in data, and
    that are in none of their variables. Raises ValueError if a layer has anything else beside these
    that it would save."""
    return dict(_adapted(layers))


def _adapted(layers: Layers) -> Iterator[Tuple[str, Tuple[List[Any], Any]]]:
    for path, layer in layers.items():
        if _loads_itself(layer):
            _own_store(path, layer)
        elif isinstance(layer, _Lookup) and layer.input_vocabulary is None:
            if layer.lookup_table.size() > 0:
                weights = layer.idf_weights_const.numpy() if layer.output_mode == "tf_idf" else None
                yield path, (layer.get_vocabulary(), weights)
        elif isinstance(layer, keras.layers.Discretization) and layer.num_bins:
            # None if it was not adapted yet.
            bins = layer.bin_boundaries
            if bins:
                yield path, (list(bins), None)


def adapt(layers: Layers, found: Mapping[str, Tuple[List[Any], Any]]) -> None:
    """Give layers what `adapted` found in others like them."""
    for path, (values, weights) in found.items():
        layer = layers[path]
        if isinstance(layer, keras.layers.Discretization):
            layer.bin_boundaries = list(values)
        elif weights is None:
            layer.set_vocabulary(values)
        else:
            layer.set_vocabulary(values, idf_weights=weights)


def digests(layers: Layers) -> Dict[str, numpy.ndarray]:
    """A checksum of what each layer has found in data, by its path with `MARK` behind it."""
    found = {}
    for path, (values, weights) in adapted(layers).items():
        plain = [str(value) for value in (*values, *(() if weights is None else weights))]
        digest = hashlib.sha256(json.dumps(plain).encode()).digest()
        found[path + MARK] = numpy.frombuffer(digest, dtype="uint8")
    return found


def check_digests(layers: Layers, came: Mapping[str, numpy.ndarray]) -> None:
    """Raise ValueError if a layer has found something else in data than the one that was saved."""
    own = digests(layers)
    for name, digest in came.items():
        if name not in own or not numpy.array_equal(own[name], digest):
            path = name.removesuffix(MARK)
            raise ValueError(
                f"The layer {path!r} was adapted to other data than in the model that was saved. "
                "What it found there is no weight, and not in the file. Give its constructor the "
                "`vocabulary` or `bin_boundaries`, so that it is the same whenever it is built."
            )

"""The names by which rules speak of a model's layers and weights."""

import collections

import keras


def named_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """All layers within a model, by path, each once.

    A path holds the names of the layers from the model (left out) down to the layer.
    Of several paths to one layer the shortest counts: an encoder of a
    `kmmft.models.DualEncoder` is `image_encoder`, not `image_tower/image_encoder`.
    Names that Keras numbers by itself (`dense_7`) depend on what was built before.

    Args:
        model: Built model.

    Returns:
        dict of layers by path, those nearest to the model first.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> [type(layer).__name__ for layer in named_layers(model).values()]
        ['Dense']
    """
    found, seen = {}, {id(model)}
    queue = collections.deque([("", model)])
    while queue:
        path, parent = queue.popleft()
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            if id(layer) in seen or isinstance(layer, keras.layers.InputLayer):
                continue
            seen.add(id(layer))
            name = f"{path}{layer.name}"
            found[name] = layer
            queue.append((f"{name}/", layer))
    return found


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """All weights of a model by path, each once: `<layer path>/<weight name>`.

    Args:
        model: Built model.

    Returns:
        dict of weights, trained or not, without seeds and metrics, in the order of
        `model.weights`.

    Raises:
        ValueError: If the model has no weights yet.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> [path.rpartition("/")[2] for path in named_variables(model)]
        ['kernel', 'bias']
    """
    if not model.built or not model.weights:
        raise ValueError(
            "A model must be built before rules can speak of its weights. Received: "
            f"{model.name!r} without weights. Call the model on a batch first."
        )
    layers = {"": model, **named_layers(model)}
    paths = {}
    for path, layer in layers.items():
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            paths.setdefault(id(variable), f"{path}/{variable.name}".lstrip("/"))
    return {paths[id(v)]: v for v in model.weights if id(v) in paths}

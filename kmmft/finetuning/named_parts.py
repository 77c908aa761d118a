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
        dict of layers by path, those nearest to the model first. Of layers of one path
        at most one has weights, and that one is here.

    Raises:
        ValueError: If two layers with weights have one path.

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
            if name not in found or not found[name].weights:
                found[name] = layer
            elif layer.weights:
                raise _one_path("layers", name, found[name], layer)
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
        ValueError: If the model has no weights yet, or two weights have one path.

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
    found = {}
    for variable in model.weights:
        path = paths.get(id(variable))
        if path in found:
            raise _one_path("weights", path, found[path], variable)
        if path is not None:
            found[path] = variable
    return found


def _one_path(what: str, path: str, *pair) -> ValueError:
    first, second = (
        f"{type(one).__name__} {getattr(one, 'path', one.name)!r}"
        + (f" of shape {tuple(one.shape)}" if what == "weights" else "")
        for one in pair
    )
    return ValueError(
        f"Two {what} of a model must have two paths. Received: {path!r} for both "
        f"{first} and {second}. Give one of them another `name`."
    )
